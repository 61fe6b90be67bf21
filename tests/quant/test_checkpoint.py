"""A killed quantization goes on at the block it was in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_parameters import TOKENS, tiny_parameters

from qairt.model.parameters import Parameters
from qairt.quant.changed_weights import ChangedWeights
from qairt.quant.checkpoint import STEP
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings_json import write_encodings
from qairt.quant.execution import Execution
from qairt.quant.quantize_model import QuantizationResult, quantize_model

GPTQ = {"technique": "lpbq", "block_size": 32, "rounding": "gptq", "activation_ranges": {"kv_cache": "mse"}}
TECHNIQUES = {
    "minmax": {"technique": "minmax"},
    "energy": {"technique": "lpbq", "block_size": 32, "scale_search": "mse"},
    "seqmse": {"technique": "lpbq", "block_size": 32},
    "gptq": GPTQ,
}


class KilledError(Exception):
    pass


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> Parameters:
    return tiny_parameters(tmp_path_factory.mktemp("model"), num_hidden_layers=3)


def quantize(parameters: Parameters, resume: Path, settings: dict[str, object], kill_at: str = "") -> list[str]:
    """Quantize until something is said that holds `kill_at`; returns all that was said."""
    said: list[str] = []

    def progress(fraction: float, message: str) -> None:
        if kill_at and kill_at in message:
            raise KilledError
        said.append(message)

    execution = Execution(resume, progress=progress)
    quantize_model(parameters, TOKENS, TechniqueConfig.model_validate(settings), execution=execution)
    return said


def result_of(parameters: Parameters, settings: dict[str, object], resume: Path | None = None) -> QuantizationResult:
    return quantize_model(parameters, TOKENS, TechniqueConfig.model_validate(settings), execution=Execution(resume))


@pytest.mark.parametrize("settings", TECHNIQUES.values(), ids=TECHNIQUES)
@pytest.mark.parametrize("kill_at", ["layer 2 of", "layer 3 of", "lm_head"])
def test_the_result_is_the_same(
    parameters: Parameters, tmp_path: Path, settings: dict[str, object], kill_at: str
) -> None:
    with pytest.raises(KilledError):
        quantize(parameters, tmp_path, settings, kill_at)
    resumed, whole = result_of(parameters, settings, tmp_path), result_of(parameters, settings)
    assert write_encodings(resumed.encodings) == write_encodings(whole.encodings)
    assert (resumed.errors, resumed.notes, resumed.mask_floor) == (whole.errors, whole.notes, whole.mask_floor)
    for one, other in ((resumed.reference, whole.reference), (resumed.exported, whole.exported)):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert set(one.tensors) == set(other.tensors)
            assert all(np.array_equal(one.tensors[name], other.tensors[name]) for name in one.tensors)
    if whole.overlay is None:
        assert resumed.overlay is None
        return
    assert isinstance(whole.overlay, dict)
    assert isinstance(resumed.overlay, ChangedWeights)
    assert set(resumed.overlay) == set(whole.overlay)
    for name, values in whole.overlay.items():
        assert np.array_equal(resumed.overlay[name], values)


def test_blocks_that_are_done_are_not_done_again(parameters: Parameters, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        quantize(parameters, tmp_path, GPTQ, "layer 3 of")
    assert quantize(parameters, tmp_path, GPTQ) == ["embedding", "layer 3 of 3", "lm_head", "done"]


@pytest.mark.parametrize(
    "damaged", [STEP, "layer-0.safetensors", "layer-1.encodings", "state-1.safetensors", "weights"]
)
def test_what_is_damaged_is_not_used(parameters: Parameters, tmp_path: Path, damaged: str) -> None:
    with pytest.raises(KilledError):
        quantize(parameters, tmp_path, GPTQ, "layer 3 of")
    path = tmp_path / damaged
    if path.is_dir():
        path = next(path.iterdir())
    path.write_bytes(path.read_bytes()[:-5] + b"12345")
    assert quantize(parameters, tmp_path, GPTQ)[1] == "layer 1 of 3"


def test_what_is_missing_makes_it_begin_anew(parameters: Parameters, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        quantize(parameters, tmp_path, GPTQ, "layer 3 of")
    (tmp_path / "layer-0.encodings").unlink()
    assert quantize(parameters, tmp_path, GPTQ)[1] == "layer 1 of 3"


def test_other_work_begins_anew(parameters: Parameters, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        quantize(parameters, tmp_path, GPTQ, "layer 3 of")
    assert quantize(parameters, tmp_path, GPTQ | {"damping": 0.02})[1] == "layer 1 of 3"
