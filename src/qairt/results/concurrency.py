"""The LoRA branches of a concurrency, for whatever computes a finished run's model.

    torch, simulated     `float_branches`, for `Reference`, `Simulated` and `BlockwiseModel`
    graphs of a chain    `stored_branches`, for `PartChain`, `PartsModel` and `EmulatedGenerator`

Without them all of these compute the base model. A simulation of graphs that have branches needs the base's zeros, for
it rounds the tensors of the branches too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qairt.errors import RecipeError
from qairt.model.names import ALPHA
from qairt.recipe.configs import BASE
from qairt.results.finished import FinishedRun
from qairt.stages.concurrencies import Concurrencies, concurrencies_of
from qairt.stages.facts import model_of, open_quantized
from qairt.stages.quantization import Quantized

if TYPE_CHECKING:
    from qairt.model.parameters import Parameters
    from qairt.quant.lora_record import LoraRecord
    from qairt.runtime.stored import Array, Floats


def float_branches(run: FinishedRun, concurrency: str, parameters: Parameters) -> dict[str, Floats]:
    """Values of the branches' inputs, by name, not rounded; zeros for the base of a recipe that has concurrencies.

    Args:
        concurrency: its name in the recipe, or `base`.
        parameters: those that compute it; a rotation of theirs is applied to the branches too.

    Raises:
        RecipeError: the recipe has no such concurrency; lists those it has.
        ModelError: an adapter cannot be read; names it.
    """
    found = require_concurrency(run, concurrency)
    if found is None:
        return {}
    from qairt.model.lora.shape import branch_values, constant_values

    active = [(found.adapters[name], strength) for name, strength in found.strengths(concurrency).items()]
    constants = dict(constant_values(found.shape, found.adapters, parameters))
    return constants | branch_values(found.shape, active, parameters)


def stored_branches(run: FinishedRun, concurrency: str) -> dict[str, Array]:
    """The branches' inputs as the integers that quantized graphs read, by name; empty for the base.

    Raises:
        RecipeError: as `float_branches`.
        ModelError: an adapter cannot be read, or the graphs were built for other ranks or modules.
        CacheError: quantization is not finished.
    """
    if require_concurrency(run, concurrency) is None or concurrency == BASE:
        return {}
    quantized = run.only_output("quantization", Quantized)
    parameters = open_quantized(model_of(run.env).source, run.config, None, quantized.rotation)
    record, values = lora_record(quantized), float_branches(run, concurrency, parameters)
    return dict(record.stored({name: value for name, value in values.items() if name in record.grids}))


def with_strengths(run: FinishedRun, concurrency: str, strengths: Mapping[str, float] | None) -> str:
    """The name by which the functions here, and all that call them, know a concurrency with some strengths changed.

    Args:
        strengths: by adapter.

    Raises:
        RecipeError: the graphs do not switch adapters, there is no such adapter, or a strength is outside the range
            that the graphs hold.
    """
    found = require_concurrency(run, concurrency)
    if not strengths:
        return concurrency
    if found is None or not found.shape.is_switched:
        raise RecipeError(
            "strength without hot switch: the strengths of the recipe are in the values that these graphs take",
            where="--strength",
            remedy="set lora.form to hot_switch and run again, or add a concurrency with this lora_scaling",
        )
    unknown = next((name for name in strengths if name not in found.shape.adapters), None)
    if unknown is not None:
        raise RecipeError(
            f"the graphs hold no adapter {unknown}",
            where="--strength",
            remedy=f"they hold {', '.join(found.shape.adapters)}",
        )
    grid = lora_record(run.only_output("quantization", Quantized)).grids[ALPHA].encoding()
    low, high = float(grid.minimum[0]), float(grid.maximum[0])
    slack = float(grid.scale[0])
    for name, strength in strengths.items():
        if not low - slack <= strength <= high + slack:
            raise RecipeError(
                f"strength {strength:g} of {name} is outside the range that the graphs were calibrated for",
                where="--strength",
                remedy=f"give {low:g} to {high:.6g}, or use a larger lora_scaling in a concurrency and run again",
            )
    changed = ", ".join(f"{name}={strength:g}" for name, strength in strengths.items())
    name = f"{concurrency} with {changed}"
    found.by_hand[name] = (concurrency, found.strengths(concurrency) | dict(strengths))
    return name


def lora_record(quantized: Quantized) -> LoraRecord:
    """What `quantization` recorded of a recipe's adapters."""
    from qairt.quant.lora_record import LoraRecord

    assert quantized.lora is not None  # its key holds the shape of the branches
    return LoraRecord.read(quantized.lora)


def require_concurrency(run: FinishedRun, concurrency: str) -> Concurrencies | None:
    """The recipe's concurrencies; None if it has none, and the base is wanted.

    Raises:
        RecipeError: the recipe has no such concurrency; lists those it has.
    """
    found = concurrencies_of(run.env)
    known = found.names if found is not None else [BASE]
    if concurrency not in known and (found is None or concurrency not in found.by_hand):
        raise RecipeError(
            f"there is no concurrency {concurrency}",
            where=run.recipe.where("lora.concurrencies") if found is not None else "--concurrency",
            remedy=f"the recipe has {', '.join(known)}",
        )
    return found
