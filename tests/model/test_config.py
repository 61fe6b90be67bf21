"""What a decoder's configuration says of windows."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_models import TINY, save_tiny

from qairt.model.config import DecoderConfig
from qairt.model.describe import describe_model


@pytest.mark.parametrize("name", ["gemma2", "mistral-windows", "llama"])
def test_a_window_that_layers_apply_does_not_limit_a_text(name: str, tmp_path: Path) -> None:
    family, changes = TINY[name]
    save_tiny(tmp_path, family, **changes)
    assert describe_model(tmp_path).config.longest_unwindowed is None


def test_a_window_that_no_layer_applies_limits_a_text(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    stated = describe_model(tmp_path).config.model_dump() | {"sliding_window": 8, "windowed_layers": ()}
    assert DecoderConfig.model_validate(stated).longest_unwindowed == 8
