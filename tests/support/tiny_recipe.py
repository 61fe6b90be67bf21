"""A whole recipe for a random two-layer model with a real (byte-level) tokenizer: seconds from weights to binaries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from tiny_models import save_tiny
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

CHAT = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
TEXT = "The quick brown fox jumps over the lazy dog, and then it rests a while in the shade of an old tree. " * 30

SIZES = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "vocab_size": 260, "eos_token_id": 256}


def write_model(directory: Path, family: str = "llama", **changes: Any) -> Path:
    """A model folder as Hugging Face publishes it."""
    save_tiny(directory, family, **(SIZES | changes))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: place for place, letter in enumerate(letters)} | {"<|end|>": 256}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT, "eos_token": "<|end|>"}))
    return directory


def write_recipe(
    directory: Path, *, family: str = "llama", backend: str = "HTP", technique: str = "lpbq_seqmse.yaml", **model: Any
) -> Path:
    """`recipe.yaml` in `directory`, with the model beside it in `model/`."""
    directory.mkdir(parents=True, exist_ok=True)
    write_model(directory / "model", family, **model)
    (directory / "text.txt").write_text(TEXT)
    recipe = {
        "model_id_or_path": "model",
        "backend": backend,
        "soc_details": "chipset:SM8650",
        "stages": {
            "model_loading": {},
            "quantization": {
                "recipe": technique,
                "calibration_text": "text.txt",
                "calibration_chunks": 4,
                "calibration_length": 48,
            },
            "export": {},
            "prepare_exports": {"arn": [1, 8], "context_length": 32},
            "split_model": {"num_splits": 3},
            "mha_to_sha_conversion": {},
            "convert": {},
            "quantize": {},
            "generate_context_binary": {"emulate": "none"},  # `test_compiled_right.py` emulates
            "export_bundle": {},
        },
    }
    path = directory / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path
