from __future__ import annotations

import pytest

from qairt.quant.config import TechniqueConfig
from qairt.quant.duration import seconds_of
from qairt.recipe.files import shipped_recipes
from qairt.stages.technique_file import load_technique

SMOLLM2 = {"parameters": 134_515_008, "hidden_size": 576, "chunks": 16, "length": 512}


def shipped(name: str) -> TechniqueConfig:
    return load_technique(shipped_recipes() / "quantization" / f"{name}.yaml")


@pytest.mark.parametrize(
    ("name", "cpu_seconds"),
    [
        ("lpbq", 41),
        ("lpbq_mse", 48),
        ("lpbq_gptq", 145),
        ("lpbq_learned", 709),
        ("lpbq_distilled", 1600),
        ("fast", 55),
        ("balanced", 222),
    ],
)
def test_an_estimate_is_what_was_measured_within_a_factor_of_two(name: str, cpu_seconds: float) -> None:
    assert cpu_seconds / 4 < seconds_of(shipped(name), **SMOLLM2) < cpu_seconds  # on two cores half of it


def test_presets_take_longer_the_better_they_are() -> None:
    fast, balanced, best = (seconds_of(shipped(name), **SMOLLM2) for name in ("fast", "balanced", "best"))
    assert 1.5 * fast < balanced < best / 3
