"""Mixed 4- and 8-bit weights: quantize in 4 bits, measure what each linear costs, give some 8 bits, and look again.

1. All linears are quantized in 4 bits, and what each costs at the model's output is measured on the first chunks
   (`qairt.quant.tune.fisher`).
2. Those that gain most per byte get 8 bits (`qairt.quant.tune.sensitivity`), and everything is quantized again, so that
   what follows an 8-bit linear compensates only for the error that is left.
3. With `max_ppl_increase` the perplexity of the result is measured. Where it is still too high, the measurement joins
   those that the choice is made from, and 2 is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qairt.errors import QuantizationError
from qairt.model.parameters import Parameters
from qairt.quant.config import TechniqueConfig
from qairt.quant.measure.calibration import one_thread_each
from qairt.quant.precisions import linear_bits, linear_shapes
from qairt.quant.progress import Progress, within
from qairt.quant.quantize_model import QuantizationResult
from qairt.quant.tune.fisher import output_costs
from qairt.quant.tune.sensitivity import (
    SCALE_BYTES,
    Choice,
    LinearCost,
    Measured,
    choose_eight_bits,
    linear_bytes,
)

FIRST_SHARE = 0.4
"""Of progress, for the round in 4 bits."""
CHUNKS = 4
"""That costs are measured on: enough to tell the linears apart."""
ROUNDS = 6
"""Choices looked at, at most."""

Quantize = Callable[..., QuantizationResult]
"""`quantize_model` with what else it needs."""
Increase = Callable[[QuantizationResult], float]
"""Perplexity over that of float weights, as a fraction."""


def quantize_mixed(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    config: TechniqueConfig,
    quantize: Quantize,
    increase: Increase,
    *,
    resume: Path,
    progress: Progress,
    threads: int | None = None,
) -> QuantizationResult:
    """The model in 4 and 8 bits; the result's notes say which linears got 8.

    Args:
        parameters: rotated already where `config` wants it.
        tokens: chunks to measure costs on; the first few are used.
        config: how linears are quantized; those that `module_precisions.custom` names stay as they are.
        quantize: quantizes the model.
        increase: measures a result, on text that it was not calibrated on.
        resume: a folder for what was done so far.
        progress: called with the fraction done and what is being done; how often all is done again is not known
            before, so a later round takes half of what is left.
        threads: as many as torch is set to when None.

    Raises:
        QuantizationError: the budget is too small, or `max_ppl_increase` is not reached with 8 bits either.
    """
    settings = config.auto_precision
    assert settings is not None
    plain = config.model_copy(update={"auto_precision": None})
    first = within(progress, 0.0, FIRST_SHARE, "all in 4 bits")
    result = quantize(parameters, tokens, plain, resume=resume / "round-0", progress=first)
    limit, points = settings.max_ppl_increase, list[Measured]()
    grown = increase(result) if limit is not None else None
    if limit is not None and grown is not None and grown <= limit:
        return _noted(result, f"all linears have 4 bits: perplexity {grown:+.1%}")
    progress(FIRST_SHARE, "what each linear costs")
    costs = _costs(parameters, tokens[:CHUNKS], plain, result, threads)
    fixed = _bytes_of_others(parameters, result, costs)
    if grown is not None:
        points.append(Measured(sum(cost.error for cost in costs), grown))
    for attempt in range(1, ROUNDS + 1):
        choice = choose_eight_bits(costs, fixed, settings, points)
        what = f"{len(choice.eight_bits)} of {len(costs)} linears in 8 bits"
        start, stop = (1 - (1 - FIRST_SHARE) * 0.5 ** (attempt - back) for back in (1, 0))
        result = quantize(
            parameters,
            tokens,
            _with_eight_bits(plain, choice),
            resume=resume / f"round-{attempt}",
            progress=within(progress, start, 1.0 if limit is None else stop, what),
        )
        if limit is None:
            return _noted(result, _words(choice, len(costs)))
        grown = increase(result)
        if grown <= limit:
            return _noted(result, f"{_words(choice, len(costs))}: perplexity {grown:+.1%}")
        if len(choice.eight_bits) == len(costs):
            break
        points.append(Measured(choice.error, grown))
    raise QuantizationError(
        f"perplexity is {grown:+.1%} with {len(choice.eight_bits)} of {len(costs)} linears in 8 bits",
        where="auto_precision.max_ppl_increase",
        remedy=f"allow more than {limit:g}, or calibrate on more text",
    )


def _costs(
    parameters: Parameters,
    tokens: Sequence[NDArray[np.integer]],
    config: TechniqueConfig,
    result: QuantizationResult,
    threads: int | None,
) -> list[LinearCost]:
    decoder = parameters.config
    free = [name for name, given in linear_bits(config.module_precisions, 0, decoder).items() if not given]
    encodings = {name: result.encodings.params[name] for name in free}
    changed = parameters.changed_by(result.overlay) if result.overlay is not None else None
    with one_thread_each(threads) as pool:
        found = output_costs(parameters, tokens, encodings, pool, changed=changed, seed=config.seed)
    block = config.block_size if config.technique == "lpbq" else None
    shapes = linear_shapes(decoder)
    return [
        LinearCost(name, error, linear_bytes(*shapes[name], 4, block), linear_bytes(*shapes[name], 8, None))
        for name, error in found.items()
    ]


def _bytes_of_others(parameters: Parameters, result: QuantizationResult, costs: Sequence[LinearCost]) -> int:
    linears = {cost.name for cost in costs}
    return sum(
        prod(parameters.shape(name)) * encoding.bitwidth // 8 + SCALE_BYTES * len(encoding.scale)
        for name, encoding in result.encodings.params.items()
        if name not in linears
    )


def _with_eight_bits(config: TechniqueConfig, choice: Choice) -> TechniqueConfig:
    names = dict.fromkeys((name.removesuffix(".weight") for name in choice.eight_bits), 8)
    held = config.module_precisions
    precisions = held.model_copy(update={"custom": {**held.custom, **names}})
    return config.model_copy(update={"module_precisions": precisions})


def _words(choice: Choice, linears: int) -> str:
    megabytes = f"{choice.bytes / 1e6:,.1f} MB of weights"
    if not choice.eight_bits:
        return f"all {linears} linears have 4 bits: {megabytes}"
    return f"{len(choice.eight_bits)} of {linears} linears have 8 bits: {megabytes}"


def _noted(result: QuantizationResult, note: str) -> QuantizationResult:
    return replace(result, notes=(*result.notes, note))
