"""Fixtures: a tiny random model with a byte-level tokenizer. A folder's conftest imports those it uses."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import save_tiny
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedModel

from qairt.model.config import DecoderConfig
from qairt.model.describe import describe_model
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.tokenizer import Tokenizer

SPECIAL = ["<s>", "</s>", "<|user|>"]
VOCABULARY = 259
"""The special tokens and one token for each byte."""
CHAT = "{% for message in messages %}<|user|>{{ message['content'] }}</s>{% endfor %}<s>"


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def hf_model(tiny_directory: Path) -> PreTrainedModel:
    return save_tiny(tiny_directory, "llama", vocab_size=VOCABULARY, num_hidden_layers=3)


@pytest.fixture(scope="session")
def config(tiny_directory: Path, hf_model: PreTrainedModel) -> DecoderConfig:
    return describe_model(tiny_directory).config


@pytest.fixture(scope="session")
def parameters(tiny_directory: Path, config: DecoderConfig) -> Parameters:
    return open_parameters(tiny_directory, config)


@pytest.fixture
def tokenizer() -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    fast = FastTokenizer(models.BPE(vocab={token: place for place, token in enumerate(SPECIAL + alphabet)}, merges=[]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(SPECIAL)
    return Tokenizer(fast, {"bos_token": "<s>", "eos_token": "</s>"}, CHAT)
