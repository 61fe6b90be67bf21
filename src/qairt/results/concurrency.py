"""The LoRA branches of a concurrency, for whatever computes a finished run's model.

    torch, simulated     `float_branches`, for `Reference`, `Simulated` and `BlockwiseModel`
    graphs of a chain    `stored_branches`, for `PartChain`, `PartsModel` and `EmulatedGenerator`

Without them all of these compute the base model. A simulation of graphs that have branches needs the base's zeros, for
it rounds the tensors of the branches too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.errors import RecipeError
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
    from qairt.model.lora.shape import branch_values

    active = [(found.adapters[name], strength) for name, strength in found.strengths(concurrency).items()]
    return branch_values(found.shape, active, parameters)


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
    return dict(lora_record(quantized).stored(float_branches(run, concurrency, parameters)))


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
    if concurrency not in known:
        raise RecipeError(
            f"there is no concurrency {concurrency}",
            where=run.recipe.where("lora.concurrencies") if found is not None else "--concurrency",
            remedy=f"the recipe has {', '.join(known)}",
        )
    return found
