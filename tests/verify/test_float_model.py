"""What graphs are compared with, also where quantization changed weights before it rounded them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_parameters import tiny_parameters

from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.quant.changed_weights import ChangedWeights
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings_json import write_encodings
from qairt.quant.execution import Execution
from qairt.quant.measure.reference_vectors import ReferenceVectors
from qairt.quant.quantize_model import QuantizationResult, quantize_model
from qairt.verify.float_model import FloatModel
from qairt.verify.text import GraphCall

IDS = np.random.default_rng(0).integers(3, 120, 24).astype(np.int32)
MINMAX = TechniqueConfig(technique="minmax")
GPTQ = TechniqueConfig(technique="lpbq", block_size=32, rounding="gptq")


def quantized(folder: Path, technique: TechniqueConfig) -> tuple[FloatModel, QuantizationResult]:
    """A tiny model as `model_loading` and `quantization` leave it."""
    parameters = tiny_parameters(folder / "hf")
    result = quantize_model(parameters, [IDS], technique, execution=Execution(folder / "resume"))
    (folder / "model.json").write_text(parameters.config.model_dump_json())
    output = SimpleNamespace(
        encodings=folder / "model.encodings",
        reference=folder / "reference.safetensors",
        exported_reference=None,
        changed_weights=result.overlay.folder if isinstance(result.overlay, ChangedWeights) else None,
        rotation=None,
    )
    output.encodings.write_text(write_encodings(result.encodings))
    result.reference.save(output.reference)
    if result.exported is not None:
        output.exported_reference = folder / "exported.safetensors"
        result.exported.save(output.exported_reference)
    loaded = SimpleNamespace(model=folder / "model.json", tokenizer=folder / "tokenizer")
    return FloatModel(folder / "hf", loaded, output.encodings, output), result


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> FloatModel:
    return quantized(tmp_path_factory.mktemp("plain"), MINMAX)[0]


def test_logits_that_were_not_recorded_are_computed(plain: FloatModel) -> None:
    recorded = plain.recorded.tensors["logits"]
    without = ReferenceVectors({**plain.recorded.tensors, "logits": recorded[:, :0]})
    text = plain._text_of(without, plain.original)
    np.testing.assert_allclose(text.truth("logits", GraphCall(4, 2, 4)), recorded[0, 2:6], rtol=1e-4, atol=1e-4)


def test_without_changed_weights_all_graphs_share_one_reference(plain: FloatModel) -> None:
    assert plain.text(rounded=True) is plain.text(rounded=False)


def test_with_changed_weights_float_graphs_are_compared_with_the_changed_model(tmp_path: Path) -> None:
    model, result = quantized(tmp_path, GPTQ)
    call = GraphCall(8, 0, 8)
    exported, original = model.text(rounded=False), model.text(rounded=True)
    assert np.array_equal(original.truth("hidden_2", call), result.reference.tensors["hidden_2"][0, :8])
    changed = Reference(open_parameters(tmp_path / "hf", model.config, overlay=result.overlay)).logits(IDS)[:8].numpy()
    np.testing.assert_allclose(exported.truth("logits", call), changed, rtol=1e-3, atol=1e-4)
    assert np.abs(changed - original.truth("logits", call)).max() > 0.01
