"""GGUF headers mean what llama.cpp takes them to mean, or are refused with the field's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType
from tiny_models import hf_logits, quantize_like_gguf, tiny_model, write_tiny_gguf
from tokenizers import Tokenizer as FastTokenizer
from tokenizers import decoders, models, pre_tokenizers

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.model.tokenizer import Tokenizer

IDS = list(range(3, 43))
AGAIN = "convert the model again with llama.cpp's convert_hf_to_gguf.py"
LINEAR = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 16}
YARN_FIELDS = {
    "rope.scaling.type": "yarn",
    "rope.scaling.factor": 4.0,
    "rope.scaling.original_context_length": 16,
}
PLAIN = {"rope_type": "default", "rope_theta": 1e4}


def logits(path: Path) -> np.ndarray:
    description = describe_model(path)
    return Reference(open_parameters(path, description.config)).logits(IDS).numpy()


def refused(path: Path, read: Any = describe_model) -> str:
    with pytest.raises(ModelError) as raised:
        read(path)
    return str(raised.value)


@pytest.mark.parametrize(
    ("family", "fields", "rope"),
    [
        ("llama", {"rope.scale_linear": 4.0}, LINEAR),
        ("llama", {"rope.scaling.factor": 4.0}, LINEAR),
        ("llama", {"rope.scaling.factor": 4.0, "rope.scale_linear": 8.0, "rope.scaling.type": "linear"}, LINEAR),
        ("qwen2", {"rope.scaling.factor": 4.0, "rope.scaling.type": "none"}, PLAIN),
        ("llama", {"rope.scaling.factor": 0.0}, PLAIN),
        ("llama", {"rope.scaling.type": "linear"}, PLAIN),
        ("qwen3", YARN_FIELDS, YARN),
        (
            "qwen2",
            YARN_FIELDS | {"rope.scaling.attn_factor": 0.5},
            YARN | {"attention_factor": 0.5 * (1 + 0.1 * float(np.log(4)))},
        ),
        (
            "llama",
            {"attention.head_count": [4, 4], "attention.head_count_kv": [2, 2], "attention.causal": True},
            PLAIN,
        ),
    ],
)
def test_fields_and_their_old_names(family, fields, rope, tmp_path):
    model = tiny_model(family, rope_parameters=rope)
    quantize_like_gguf(model, GGMLQuantizationType.F16)
    write_tiny_gguf(tmp_path / "m.gguf", model, fields=fields)
    assert np.abs(logits(tmp_path / "m.gguf") - hf_logits(model, IDS)).max() < 1e-4


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["F32", "Q8_0"])
def test_phi3_is_stored_with_joined_projections(kind, kv_heads, tmp_path):
    model = tiny_model("phi3", num_key_value_heads=kv_heads)
    quantize_like_gguf(model, GGMLQuantizationType[kind])
    write_tiny_gguf(tmp_path / "m.gguf", model, GGMLQuantizationType[kind])
    assert describe_model(tmp_path / "m.gguf").config.family == "phi3"
    assert np.abs(logits(tmp_path / "m.gguf") - hf_logits(model, IDS)).max() < 1e-4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"attention.causal": False}, "attention.causal is False: its attention is not causal: this is an encoder"),
        ({"pooling_type": 2}, "pooling_type is 2: only the mean (1) and the last token (3) are supported"),
        (
            {"rope.scaling.yarn_attn_factor": 0.5},
            "rope.scaling.yarn_attn_factor is 0.5: llama.cpp reads it for other architectures only",
        ),
    ],
)
def test_fields_that_change_the_function_are_refused(fields, message, tmp_path):
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), fields=fields)
    assert refused(path) == (
        f"{path}: llama.{message}\n  use the Hugging Face model that it was converted from, or another GGUF file"
    )


def test_factors_that_cannot_be_combined_are_refused(tmp_path):
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), fields={"rope.scaling.attn_factor": 1.25})
    assert refused(path) == (
        f"{path}: rope.scaling.attn_factor is 1.25 without yarn, which is not supported\n"
        "  use the Hugging Face model that it was converted from"
    )
    write_tiny_gguf(path, tiny_model("llama"), fields={"rope.scale_linear": 2.0}, rope_factors=np.ones(8))
    assert refused(path) == (
        f"{path}: rotary scaling of type 'linear' on top of a table of divisors (rope_freqs.weight) is not supported\n"
        "  use the Hugging Face model that it was converted from"
    )


def test_a_value_outside_of_its_range_is_refused_by_name(tmp_path):
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), fields={"rope.freq_base": -1.0})
    assert refused(path) == (
        f"{path}: the GGUF header describes an impossible decoder (rope_theta: Input should be greater than 0)\n"
        "  download or copy it again"
    )


def test_layers_that_differ_are_refused(tmp_path):
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), fields={"attention.head_count_kv": [2, 4]})
    assert refused(path) == (
        f"{path}: llama.attention.head_count_kv differs by layer, which is not supported\n"
        "  use a model whose layers have the same shape"
    )


def test_tensors_that_the_header_does_not_use_are_refused(tmp_path):
    """llama.cpp counts them too."""
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), fields={"block_count": 1})
    assert refused(path).startswith(
        f"{path}: the header does not use tensors that the file holds: blk.1.attn_q.weight, "
    )
    assert refused(path).endswith(f" more\n  {AGAIN}")
    names = ["blk.0.attn_sinks.weight", "blk.1.attn_q.bias"]
    write_tiny_gguf(path, tiny_model("llama"), extra=names)
    assert refused(path) == (
        f"{path}: the header does not use tensors that the file holds: blk.0.attn_sinks.weight, blk.1.attn_q.bias\n"
        f"  {AGAIN}"
    )


# Vocabularies


def byte_level() -> FastTokenizer:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, "<|end|>", "th", "the"]
    fast = FastTokenizer(models.BPE({text: number for number, text in enumerate(tokens)}, [("t", "h"), ("th", "e")]))
    fast.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    fast.decoder = decoders.ByteLevel()
    fast.add_special_tokens(["<|end|>"])
    return fast


def write_vocabulary(path: Path, kind: str = "gpt2", **changes: Any) -> Path:
    """The file of `byte_level()`, with other or (None) no arrays."""
    tokens = sorted(byte_level().get_vocab(), key=byte_level().get_vocab().get)
    arrays: dict[str, Any] = {
        "tokens": tokens,
        "merges": ["t h", "th e"],
        "scores": [0.0] * len(tokens),
        "token_type": [3 if text == "<|end|>" else 1 for text in tokens],
    }
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_tokenizer_model(kind)
    writer.add_tokenizer_pre("gpt-2")
    for name, values in (arrays | changes).items():
        if values is not None:
            writer.add_array(f"tokenizer.ggml.{name}", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return path


def test_a_vocabulary_without_token_types_or_scores(tmp_path):
    tokenizer = Tokenizer.open(write_vocabulary(tmp_path / "m.gguf", token_type=None, scores=None))
    assert tokenizer.encode("the") == byte_level().encode("the").ids


def test_an_empty_token_gets_the_name_that_llama_cpp_gives_it(tmp_path):
    tokens = sorted(byte_level().get_vocab(), key=byte_level().get_vocab().get)
    tokens[256] = ""
    tokenizer = Tokenizer.open(write_vocabulary(tmp_path / "m.gguf", tokens=tokens))
    assert tokenizer.fast.id_to_token(256) == "[EMPTY_256]"


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("gpt2", {"token_type": [1, 1]}, "tokenizer.ggml.token_type has 2 values for 259 tokens"),
        ("llama", {"scores": [0.0]}, "tokenizer.ggml.scores has 1 values for 259 tokens"),
        ("gpt2", {"merges": ["t h", "th x"]}, "the merge 'th x' needs 'thx', which is no token"),
        ("gpt2", {"merges": ["t 中"]}, "the merge 't 中' needs '中', which is no token"),
        (
            "gpt2",
            {"tokens": ["a", "b", "a"], "token_type": [1, 1, 1], "merges": ["a b"]},
            "tokens 0 and 2 are both 'a'",
        ),
    ],
)
def test_vocabularies_that_llama_cpp_cannot_use_either(kind, changes, message, tmp_path):
    path = write_vocabulary(tmp_path / "m.gguf", kind, **changes)
    assert refused(path, Tokenizer.open) == (
        f"{path}: the GGUF vocabulary is not usable: {message}\n"
        f"  {AGAIN}, or use the model directory that the file was converted from"
    )


@pytest.mark.parametrize(("kind", "missing"), [("gpt2", "merges"), ("llama", "scores")])
def test_a_vocabulary_without_what_its_kind_needs(kind, missing, tmp_path):
    path = write_vocabulary(tmp_path / "m.gguf", kind, **{missing: None})
    assert refused(path, Tokenizer.open) == (
        f"{path}: the GGUF header has no tokenizer.ggml.{missing}\n  convert the model with its tokenizer"
    )
