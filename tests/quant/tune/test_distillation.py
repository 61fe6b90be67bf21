"""Scales and norms tuned end to end, on a tiny model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, tiny_parameters

from qairt.errors import QuantizationError
from qairt.model.parameters import Parameters
from qairt.model.reference import Reference
from qairt.quant.changed_weights import ChangedWeights
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encoding, Encodings
from qairt.quant.execution import Execution
from qairt.quant.precisions import linear_shapes
from qairt.quant.quantize_model import QuantizationResult, quantize_model
from qairt.quant.simulate import Simulated
from qairt.quant.threads import one_thread_each
from qairt.quant.tune.distill_model import distill_model, text_to_tune_on
from qairt.quant.tune.distillation import HELD_OUT, Distilled, distill

TEXT = [np.random.default_rng(seed).integers(3, 128, 32) for seed in range(30, 42)]
CONFIG = TechniqueConfig.model_validate(
    {"technique": "lpbq", "block_size": 32, "distillation_steps": 12, "distillation_rate": 0.005}
)


class KilledError(Exception):
    pass


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def parameters(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Parameters:
    return tiny_parameters(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(scope="module")
def quantized(parameters: Parameters) -> tuple[Parameters, dict[str, Encoding]]:
    params = quantize_model(parameters, TOKENS, CONFIG).encodings.params
    values = {name: params[name].nearest(parameters.read(name)) for name in linear_shapes(parameters.config)}
    return Parameters(parameters.source, parameters.config, values), params


def run(
    parameters: Parameters,
    quantized: tuple[Parameters, dict[str, Encoding]],
    *,
    threads: int = 1,
    folder: Path | None = None,
    kill_at: str = "",
) -> Distilled:
    def progress(fraction: float, message: str) -> None:
        if kill_at and message.startswith(kill_at):
            raise KilledError

    execution = Execution(folder, threads, progress=progress)
    return distill(parameters, *quantized, TEXT, CONFIG, execution=execution)


def divergence(parameters: Parameters, model: Parameters, params: dict[str, Encoding], chunk: np.ndarray) -> float:
    """KL(float || quantized), nats a token."""
    models = Reference(parameters, True), Simulated(model, Encodings(params=params), True)
    plain, other = (one.logits(chunk).double().log_softmax(-1) for one in models)
    return float((plain.exp() * (plain - other)).sum(-1).mean())


def test_held_out_text_is_predicted_better(
    parameters: Parameters, quantized: tuple[Parameters, dict[str, Encoding]]
) -> None:
    found = run(parameters, quantized)
    assert found.after < 0.99 * found.before
    model, params = quantized
    body = {name: one for name, one in params.items() if name in ("model.embed_tokens.weight", "lm_head.weight")}
    before = [divergence(parameters, model, body, chunk) for chunk in TEXT[:HELD_OUT]]
    # The float side has a rounded head too, which hardly moves it.
    assert np.mean(before) == pytest.approx(found.before, rel=0.1)
    changed = {name: model.read(name) * factors for name, factors in found.factors.items()}
    other = Parameters(parameters.source, parameters.config, changed)
    after = [divergence(parameters, other, body, chunk) for chunk in TEXT[:HELD_OUT]]
    assert np.mean(after) == pytest.approx(found.after, rel=0.1)


def test_threads_change_nothing(parameters: Parameters, quantized: tuple[Parameters, dict[str, Encoding]]) -> None:
    one, three = (run(parameters, quantized, threads=threads) for threads in (1, 3))
    assert (one.before, one.after) == (three.before, three.after)
    assert one.factors.keys() == three.factors.keys()
    assert all(np.array_equal(values, three.factors[name]) for name, values in one.factors.items())


@pytest.mark.parametrize("kill_at", ["step 4 ", "step 11 "])
def test_a_killed_run_resumes_to_the_same_result(
    parameters: Parameters, quantized: tuple[Parameters, dict[str, Encoding]], tmp_path: Path, kill_at: str
) -> None:
    folder = tmp_path / "deep"
    steps = folder / "steps.safetensors"
    with pytest.raises(KilledError):
        run(parameters, quantized, folder=folder, kill_at=kill_at)
    assert steps.exists() == (kill_at == "step 11 ")
    resumed, whole = run(parameters, quantized, folder=folder), run(parameters, quantized)
    assert resumed.after == whole.after
    assert all(np.array_equal(values, whole.factors[name]) for name, values in resumed.factors.items())
    steps.write_bytes(steps.read_bytes()[:100])
    assert run(parameters, quantized, folder=folder).after == whole.after


@pytest.fixture(scope="module", params=["nearest", "gptq", "learned"])
def finished(
    request: pytest.FixtureRequest, parameters: Parameters, tmp_path_factory: pytest.TempPathFactory
) -> tuple[QuantizationResult, ...]:
    folder = tmp_path_factory.mktemp("work")
    config = CONFIG.model_copy(update={"rounding": request.param, "steps": 2})
    plain = quantize_model(parameters, TOKENS, config, execution=Execution(folder / "weights"))
    execution = Execution(folder / "tuned")
    tuned = distill_model(parameters, TOKENS, TEXT, config, plain, quantize_model, execution=execution)
    return plain, tuned


def test_the_tuned_weights_lie_on_their_grids(parameters: Parameters, finished: tuple[QuantizationResult, ...]) -> None:
    plain, tuned = finished
    assert isinstance(tuned.overlay, ChangedWeights)
    for name in linear_shapes(parameters.config):
        values, encoding = tuned.overlay[name], tuned.encodings.params[name]
        assert np.array_equal(encoding.nearest(values), values)
        before = plain.encodings.params[name]
        chosen = Parameters(parameters.source, parameters.config, plain.overlay).read(name)
        assert np.array_equal(encoding.quantize(values), before.quantize(chosen))
        assert not np.array_equal(encoding.scale, before.scale)


def test_the_result_is_that_of_the_tuned_model(
    parameters: Parameters, finished: tuple[QuantizationResult, ...]
) -> None:
    plain, tuned = finished
    assert tuned.exported is not None
    assert plain.reference.tensors.keys() == tuned.exported.tensors.keys()
    model = Parameters(parameters.source, parameters.config, tuned.overlay)
    expected = Reference(model).logits(TOKENS[0]).numpy()
    np.testing.assert_allclose(tuned.exported.tensors["logits"][0], expected, rtol=1e-3, atol=1e-4)
    assert np.array_equal(tuned.reference.tensors["logits"], plain.reference.tensors["logits"])
    assert tuned.encodings.activations.keys() == plain.encodings.activations.keys()
    assert "tuned on 8 sequences" in tuned.notes[-1]


def test_too_little_text_is_refused() -> None:
    with pytest.raises(QuantizationError) as error:
        text_to_tune_on(lambda wanted: TEXT[:3], CONFIG)
    assert str(error.value) == (
        "distillation_steps: tuning needs 5 sequences that are not calibrated on, the text has 3\n"
        "  use a longer calibration_text, or fewer calibration_chunks"
    )
    assert len(text_to_tune_on(lambda wanted: TEXT[:wanted], CONFIG)) == len(TEXT)


def test_gradients_are_those_of_the_whole_model(
    parameters: Parameters, quantized: tuple[Parameters, dict[str, Encoding]]
) -> None:
    """Against a difference of the loss, for one channel of each kind."""
    from qairt.quant.tune.distillation import _float_states, _TunedModel

    model, params = quantized
    with one_thread_each(1) as pool:
        embedded, targets = _float_states(parameters, TEXT[:2], pool, "cpu", lambda *said: None)
        tuned = _TunedModel(model, params, embedded, pool, "cpu")
        gradients = tuned.gradients([0, 1], targets)
        assert gradients.keys() == tuned.factors.keys()
        for name in (
            "model.layers.0.mlp.down_proj.weight",
            "model.layers.1.input_layernorm.weight",
            "model.norm.weight",
        ):
            channel = int(gradients[name].abs().argmax())
            losses = []
            for moved in (0.02, -0.02):
                tuned.factors[name][channel] += moved
                losses.append(tuned.loss([0, 1], targets))
                tuned.factors[name][channel] -= moved
            difference = (losses[0] - losses[1]) / 0.04
            # `gradients` are of the sum of each sequence's mean.
            assert float(gradients[name][channel]) == pytest.approx(2 * difference, rel=0.05), name
    assert torch.is_grad_enabled()
