"""When the checkpoint can be read a second time, by transformers."""

from __future__ import annotations

import json
from pathlib import Path

from tiny_models import save_tiny
from tiny_quantized import store_as_fp8

from qairt.model.describe import describe_model
from qairt.verify.checkpoint import why_not


def test_transformers_must_know_that_the_weights_are_quantized(tmp_path: Path) -> None:
    """Without its quantization_config it takes the 8-bit values for the weights, and says nothing."""
    save_tiny(tmp_path, "llama")
    assert why_not(describe_model(tmp_path)) is None
    store_as_fp8(tmp_path, (32, 32))
    assert why_not(describe_model(tmp_path)) is None
    path = tmp_path / "config.json"
    stated = json.loads(path.read_text())
    del stated["quantization_config"]
    path.write_text(json.dumps(stated))
    assert why_not(describe_model(tmp_path)) == (
        "transformers would not see that the weights are quantized: config.json has no quantization_config"
    )
