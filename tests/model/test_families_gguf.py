"""The same weights in a GGUF file give the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
from family_gguf import write_gguf
from tiny_models import IDS, TINY, assert_close, hf_logits, tiny_model

from qairt.model.describe import describe_model
from qairt.model.families import FAMILIES
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference

VARIANTS = [name for name, (family, _) in TINY.items() if FAMILIES[family].gguf is not None]
NOT_IN_GGUF = {
    "gemma2-uncapped": "llama.cpp always caps",
    "hunyuan_v1_dense-alpha": "its converter writes the raised base",
    "llama-llama3": "its table of divisors has a test of its own",
    "smollm3-types": "llama.cpp has no windows for it",
    "smollm3-windows": "llama.cpp has no windows for it",
    "qwen2-windows": "llama.cpp has no windows for it",
    "qwen3_moe-not-added-up": "in llama.cpp the experts' weights add up to 1",
    "gpt_oss-clamped": "llama.cpp takes the limit from the architecture",
}
"""Variants that llama.cpp's files cannot state."""


@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in NOT_IN_GGUF])
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    family, changes = TINY[name]
    if family in ("gemma2", "gemma3_text"):
        changes = changes | {"query_pre_attn_scalar": 16}  # the width of a head, as in the sizes that llama.cpp knows
    if family == "gpt_oss":  # llama.cpp truncates the range of yarn
        changes = changes | {"rope_parameters": changes["rope_parameters"] | {"truncate": True}}
    model = tiny_model(family, **changes)
    write_gguf(tmp_path / "model.gguf", name, model)
    description = describe_model(tmp_path / "model.gguf")
    assert description.config.family == family
    reference = Reference(open_parameters(description.source, description.config))
    assert_close(reference.logits(IDS).numpy(), hf_logits(model, IDS))


def test_what_is_left_out_is_stated() -> None:
    assert set(VARIANTS) >= set(NOT_IN_GGUF)
    without = sorted(name for name, family in FAMILIES.items() if family.gguf is None)
    assert without == ["ministral", "mistral", "mixtral", "olmo3"], "llama.cpp calls Mistral llama, and OLMo 3 olmo2"
