"""Mixed 4- and 8-bit weights: quantize in 4 bits, measure the cost of each linear, give some 8 bits, and measure again.

1. All linears are quantized in 4 bits, and the cost of each at the model's output is measured on the first chunks
   (`qairt.quant.tune.fisher`).
2. Those that gain most per byte get 8 bits (`qairt.quant.tune.sensitivity`), and everything is quantized again, so that
   what follows an 8-bit linear compensates only the remaining error.
3. With `max_ppl_increase` the perplexity of the result is measured. If it is still too high, the measurement is added
   to those that the choice is based on, and step 2 is repeated.

With `max_size_increase` the costs are those of rounding to nearest, so the model is quantized once. Error compensation
lowers all costs, and hardly changes which linears cost most. Costs are those of predicted tokens and need a layer's
weights in memory: all linears of an embedding model and of a mixture of experts keep 4 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.model.config import DecoderConfig
from qairt.model.layout import EMBEDDING, LM_HEAD
from qairt.model.parameters import Parameters
from qairt.model.torch_ops import shared
from qairt.quant.config import AutoPrecision, TechniqueConfig
from qairt.quant.encodings import Encoding
from qairt.quant.execution import Execution
from qairt.quant.precisions import linear_bits, linear_shapes
from qairt.quant.quantize_model import QuantizationResult, QuantizeModel
from qairt.quant.structure import Structure
from qairt.quant.techniques import technique
from qairt.quant.threads import one_thread_each
from qairt.quant.tune.fisher import output_costs
from qairt.quant.tune.sensitivity import (
    COST_CHUNKS,
    SCALE_BYTES,
    EightBitChoice,
    LinearCost,
    PerplexityPoint,
    choose_eight_bits,
    linear_bytes,
)

FIRST_SHARE = 0.4
"""Of the progress, for the round in 4 bits."""
COSTS_SHARE = 0.15
"""Of the progress, for the costs of rounding to nearest."""
ROUNDS = 6
"""The most choices that are tried."""

PerplexityIncrease = Callable[[QuantizationResult], float]
"""Measures a result's perplexity over that of float weights, as a fraction."""


def quantize_mixed(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    config: TechniqueConfig,
    quantize: QuantizeModel,
    increase: PerplexityIncrease,
    *,
    execution: Execution,
) -> QuantizationResult:
    """The model in 4 and 8 bits; the result's notes name the linears with 8.

    Args:
        parameters: already rotated if `config` rotates.
        tokens: chunks of token ids; costs are measured on the first few.
        config: how linears are quantized; those in `module_precisions.custom` keep their bits.
        quantize: quantizes the model.
        increase: measures a result, on text that it was not calibrated on.
        execution: its progress does not know the number of rounds, so a later round takes half of what is left.

    Raises:
        QuantizationError: the budget is too small, or `max_ppl_increase` is not reached with 8 bits either.
    """
    settings = config.auto_precision
    assert settings is not None
    plain = config.model_copy(update={"auto_precision": None})
    limit, points = settings.max_ppl_increase, list[PerplexityPoint]()
    if settings.max_size_increase is not None:
        return _in_one_pass(parameters, tokens, plain, settings, quantize, execution)
    fixed = _bytes_of_others(parameters, plain)

    result = quantize(parameters, tokens, plain, execution=execution.part("round-0", 0.0, FIRST_SHARE, "all in 4 bits"))
    grown = increase(result) if limit is not None else None
    if limit is not None and grown is not None and grown <= limit:
        return _noted(result, f"all linears have 4 bits: perplexity {grown:+.1%}")
    execution.progress(FIRST_SHARE, "cost of each linear")
    changed = parameters.changed_by(result.overlay) if result.overlay is not None else None
    costs = _costs(parameters, tokens[:COST_CHUNKS], plain, result.encodings.params, changed, execution)
    if grown is not None:
        points.append(PerplexityPoint(sum(cost.error for cost in costs), grown))
    for attempt in range(1, ROUNDS + 1):
        choice = choose_eight_bits(costs, fixed, settings, points)
        start, stop = (1 - (1 - FIRST_SHARE) * 0.5 ** (attempt - back) for back in (1, 0))
        what = f"{len(choice.eight_bits)} of {len(costs)} linears in 8 bits"
        part = execution.part(f"round-{attempt}", start, 1.0 if limit is None else stop, what)
        result = quantize(parameters, tokens, _with_eight_bits(plain, choice), execution=part)
        if limit is None:
            return _noted(result, _summary(choice, len(costs)))
        grown = increase(result)
        if grown <= limit:
            return _noted(result, f"{_summary(choice, len(costs))}: perplexity {grown:+.1%}")
        if len(choice.eight_bits) == len(costs):
            break
        points.append(PerplexityPoint(choice.error, grown))
    raise QuantizationError(
        f"perplexity is {grown:+.1%} with {len(choice.eight_bits)} of {len(costs)} linears in 8 bits",
        where="auto_precision.max_ppl_increase",
        remedy=f"allow more than {limit:g}, or calibrate on more text",
    )


def _in_one_pass(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    plain: TechniqueConfig,
    settings: AutoPrecision,
    quantize: QuantizeModel,
    execution: Execution,
) -> QuantizationResult:
    """The choice by the costs of rounding to nearest, then the model with that choice."""
    if parameters.config.pooling is not None or parameters.config.experts is not None:
        kind = "an embedding model" if parameters.config.pooling is not None else "a mixture of experts"
        note = f"all linears have 4 bits: their costs are not measured in {kind}"
        return _noted(quantize(parameters, tokens, plain, execution=execution.part("weights", 0.0, 1.0)), note)
    execution.progress(0.0, "cost of each linear")
    rounded = _rounded_to_nearest(parameters, plain, execution)
    costs = _costs(parameters, tokens[:COST_CHUNKS], plain, rounded, None, execution)
    choice = choose_eight_bits(costs, _bytes_of_others(parameters, plain), settings)
    rest = execution.part("weights", COSTS_SHARE, 1.0)
    result = quantize(parameters, tokens, _with_eight_bits(plain, choice), execution=rest)
    return _noted(result, _summary(choice, len(costs)))


def _costs(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    config: TechniqueConfig,
    rounded: Mapping[str, Encoding],
    changed: Parameters | None,
    execution: Execution,
) -> list[LinearCost]:
    decoder = parameters.config
    encodings = {name: rounded[name] for name in _free(config, decoder)}
    device = execution.device
    with one_thread_each(execution.threads, execution.device) as pool:
        found = output_costs(parameters, tokens, encodings, pool, changed=changed, seed=config.seed, device=device)
    block = _block_size(config)
    shapes = linear_shapes(decoder)
    return [
        LinearCost(name, error, linear_bytes(*shapes[name], 4, block), linear_bytes(*shapes[name], 8, None))
        for name, error in found.items()
    ]


def _free(config: TechniqueConfig, decoder: DecoderConfig) -> list[str]:
    """The linears whose bits are not stated."""
    return [name for name, given in linear_bits(config.module_precisions, 0, decoder).items() if not given]


def _rounded_to_nearest(parameters: Parameters, config: TechniqueConfig, execution: Execution) -> dict[str, Encoding]:
    """The encodings of the linears whose bits are not stated, from the weights alone."""
    plain = config.model_copy(update={"scale_search": "mse", "importance": "none", "rounding": "nearest"})
    chosen = technique(plain)
    found = {}
    with one_thread_each(execution.threads, execution.device) as pool:
        for name in _free(config, parameters.config):
            weight = shared(parameters.read(name)).to(execution.device)
            found[name] = chosen.choose(name, weight, energy=None, gram=None, pool=pool).encoding
    return found


def _block_size(config: TechniqueConfig) -> int | None:
    """Of the linears with the technique's bits; None where they have no blocks."""
    return config.block_size if config.technique == "lpbq" else None


def _bytes_of_others(parameters: Parameters, config: TechniqueConfig) -> int:
    """The size of all weights but the linears whose bits are free."""
    precisions, decoder = config.module_precisions, parameters.config
    stated = {name: bits for name, bits in linear_bits(precisions, 0, decoder).items() if bits}
    shapes, blocks = linear_shapes(decoder), {config.bits: _block_size(config)}
    total = sum(linear_bytes(*shapes[name], bits, blocks.get(bits)) for name, bits in stated.items())
    bits = dict.fromkeys(Structure(decoder).norms, precisions.rms_norm)
    bits |= {EMBEDDING: precisions.embedding, LM_HEAD: precisions.lm_head}
    for name in parameters.names():
        if name not in linear_shapes(decoder):
            scales = parameters.shape(name)[-1] if name == LM_HEAD else 1
            total += prod(parameters.shape(name)) * bits.get(name, precisions.bias) // 8 + SCALE_BYTES * scales
    return total


def _with_eight_bits(config: TechniqueConfig, choice: EightBitChoice) -> TechniqueConfig:
    names = dict.fromkeys((name.removesuffix(".weight") for name in choice.eight_bits), 8)
    stated = config.module_precisions
    precisions = stated.model_copy(update={"custom": {**stated.custom, **names}})
    return config.model_copy(update={"module_precisions": precisions})


def _summary(choice: EightBitChoice, linears: int) -> str:
    megabytes = f"{choice.bytes / 1e6:,.1f} MB of weights"
    if not choice.eight_bits:
        return f"all {linears} linears have 4 bits: {megabytes}"
    return f"{len(choice.eight_bits)} of {linears} linears have 8 bits: {megabytes}"


def _noted(result: QuantizationResult, note: str) -> QuantizationResult:
    return replace(result, notes=(*result.notes, note))
