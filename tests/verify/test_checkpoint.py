"""When the checkpoint can be read a second time, by transformers."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from tiny_models import IDS, TINY, hf_logits, save_tiny
from tiny_quantized import store_as_fp8

from qairt.model.describe import describe_model
from qairt.verify.checkpoint import compare_checkpoint, why_not


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


def test_what_transformers_says_of_a_model_is_not_passed_on(tmp_path: Path) -> None:
    """Longrope gets advice on how to write its configuration."""
    family, changes = TINY["phi3-longrope"]
    logits = hf_logits(save_tiny(tmp_path, family, **changes), IDS)
    read: Any = SimpleNamespace(ids=np.array(IDS), logits=lambda tokens: logits)
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("transformers")
    logger.addHandler(handler)
    level = logger.level
    try:
        assert compare_checkpoint(tmp_path, read).sqnr_db > 100
    finally:
        logger.removeHandler(handler)
    assert told == []
    assert logger.level == level
