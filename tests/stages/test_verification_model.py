"""What graphs are compared with, also where quantization changed weights before it rounded them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_models import save_tiny

from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.quant.config import TechniqueConfig
from qairt.quant.quantize_model import quantize_model
from qairt.runtime.verify_text import Call
from qairt.stages.verification_model import FloatModel, computed_vectors

IDS = np.random.default_rng(0).integers(3, 120, 24).astype(np.int32)
WEIGHT = "model.layers.1.mlp.down_proj.weight"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> SimpleNamespace:
    """A model folder, what `model_loading` and `quantization` wrote, and a folder with one weight changed."""
    folder = tmp_path_factory.mktemp("model")
    save_tiny(folder / "hf", "llama")
    config = describe_model(folder / "hf").config
    parameters = open_parameters(folder / "hf", config)
    result = quantize_model(parameters, [IDS], TechniqueConfig(technique="minmax"))
    (folder / "model.json").write_text(config.model_dump_json())
    (folder / "model.encodings").write_text(result.encodings.to_json("1.0.0"))
    result.reference.save(folder / "reference.safetensors")
    (folder / "changed").mkdir()
    np.save(folder / "changed" / f"{WEIGHT}.npy", 2 * parameters.read(WEIGHT))
    return SimpleNamespace(folder=folder, parameters=parameters, reference=result.reference)


def float_model(made: SimpleNamespace, changed: Path | None = None) -> FloatModel:
    quantized = SimpleNamespace(
        encodings=made.folder / "model.encodings",
        reference=made.folder / "reference.safetensors",
        changed_weights=changed,
        rotation=None,
    )
    return FloatModel(made.folder / "hf", SimpleNamespace(model=made.folder / "model.json"), quantized)


def test_computed_vectors_are_those_that_quantization_records(made):
    found = computed_vectors(made.parameters, IDS)
    for name, values in made.reference.tensors.items():
        if name != "logits":
            np.testing.assert_allclose(found.tensors[name], values, rtol=1e-4, atol=1e-4, err_msg=name)


def test_logits_that_were_not_recorded_are_computed(made):
    model = float_model(made)
    recorded = model.recorded.tensors["logits"][0, :4]
    without = computed_vectors(model.original, model.ids)
    text = model._text_of(without, model.original)
    np.testing.assert_allclose(text.truth("logits", Call(4, 0, 4)), recorded, rtol=1e-4, atol=1e-4)


def test_without_changed_weights_all_graphs_have_one_truth(made):
    model = float_model(made)
    assert model.text(rounded=True) is model.text(rounded=False)


def test_with_changed_weights_float_graphs_are_compared_with_the_changed_model(made):
    model = float_model(made, made.folder / "changed")
    exported, original = model.text(rounded=False), model.text(rounded=True)
    call = Call(8, 0, 8)
    assert np.array_equal(original.truth("hidden_2", call), made.reference.tensors["hidden_2"][0, :8])
    np.testing.assert_allclose(exported.truth("hidden_1", call), original.truth("hidden_1", call), atol=1e-4)
    assert np.abs(exported.truth("hidden_2", call) - original.truth("hidden_2", call)).max() > 0.1
    assert np.abs(exported.truth("logits", call) - original.truth("logits", call)).max() > 0.1
