"""Training an adapter on quantized weights: joined projections stay joined, and a stopped training resumes exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_adapters import save_adapter
from tiny_models import save_tiny, tiny_model

from qairt.errors import QuantizationError
from qairt.model.describe import describe_model
from qairt.model.lora.adapter import read_adapter
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.rotation import Rotation
from qairt.quant.encodings import Encodings
from qairt.quant.execution import Execution
from qairt.quant.tune.adapter import Training, tune_adapter

CHUNKS = [np.random.default_rng(0).integers(3, 120, 24)] * 6
TRAINING = Training(steps=7, rate=0.01)


def opened(folder: Path):
    save_tiny(folder / "model", "phi3")
    save_adapter(folder / "one", tiny_model("phi3"), target_modules=["qkv_proj", "down_proj"])
    config = describe_model(folder / "model").config
    return open_parameters(folder / "model", config), read_adapter("one", folder / "one", config)


def test_a_stopped_training_ends_as_one_that_was_not_stopped(tmp_path: Path):
    parameters, adapter = opened(tmp_path)

    def stop(share: float, what: str) -> None:
        if what == "step 7 of 7":
            raise KeyboardInterrupt

    stopped = Execution(folder=tmp_path / "steps", threads=1, progress=stop)
    with pytest.raises(KeyboardInterrupt):
        tune_adapter(parameters, Encodings(), adapter, CHUNKS, TRAINING, work="w", execution=stopped)
    seen: list[str] = []
    on = replace(stopped, progress=lambda share, what: seen.append(what))
    resumed = tune_adapter(parameters, Encodings(), adapter, CHUNKS, TRAINING, work="w", execution=on)
    whole = tune_adapter(parameters, Encodings(), adapter, CHUNKS, TRAINING, work="w", execution=Execution(threads=1))
    assert seen == ["measuring the adapter as it is", "step 6 of 7", "step 7 of 7"]
    assert resumed.before == whole.before > whole.after == resumed.after
    assert all(np.array_equal(resumed.tensors[name], value) for name, value in whole.tensors.items())
    name = "base_model.model.model.layers.0.self_attn.qkv_proj.lora_"
    assert (whole.tensors[f"{name}A.weight"].shape, whole.tensors[f"{name}B.weight"].shape) == ((4, 64), (128, 4))
    assert len(whole.tensors) == 8


def test_an_adapter_that_does_not_get_better_stays_as_it_was(tmp_path: Path):
    parameters, adapter = opened(tmp_path)
    worse = Training(steps=2, rate=-0.01)
    found = tune_adapter(parameters, Encodings(), adapter, CHUNKS, worse, work="w", execution=Execution(threads=1))
    assert found.before == found.after
    module = adapter.modules["model.layers.1.mlp.down_proj"]
    assert np.array_equal(found.tensors[module.stored_b.tensor], module.b.T)


def test_training_on_rotated_weights_is_the_same(tmp_path: Path):
    parameters, adapter = opened(tmp_path)
    rotation = Rotation.of(parameters.config, values=True)
    turned = Parameters(parameters.source, parameters.config, rotation=rotation)
    plain, rotated = (
        tune_adapter(base, Encodings(), adapter, CHUNKS, TRAINING, work="w", execution=Execution(threads=1))
        for base in (parameters, turned)
    )
    assert rotated.before == pytest.approx(plain.before, rel=1e-5)
    assert rotated.after == pytest.approx(plain.after, rel=1e-3)
    assert plain.after < 0.9 * plain.before


def test_too_little_text(tmp_path: Path):
    parameters, adapter = opened(tmp_path)
    with pytest.raises(QuantizationError) as error:
        tune_adapter(parameters, Encodings(), adapter, CHUNKS[:2], TRAINING, work="w", execution=Execution(threads=1))
    assert str(error.value) == (
        "--data: training needs 3 sequences, the text has 2\n  give a longer text, or a smaller --length"
    )
