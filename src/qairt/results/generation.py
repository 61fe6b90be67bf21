"""Generating text with a finished run's model on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from qairt.errors import RecipeError
from qairt.notify import Notify
from qairt.recipe.configs import BASE
from qairt.results.concurrency import float_branches, require_concurrency, stored_branches
from qairt.results.finished import FinishedRun
from qairt.stages.facts import model_of

if TYPE_CHECKING:
    from qairt.runtime.generator import Generator
    from qairt.runtime.parts import PartGraph

Target = Literal["cpu", "torch", "htp-emulator"]
"""cpu: the split, quantized graphs in ONNX Runtime. torch: the float model. htp-emulator: the graphs compiled for the
NPU and emulated; seconds per token."""

Prompt = str | Sequence[dict[str, Any]]
"""A text, or the messages of a chat."""


@contextmanager
def opened_generator(
    run: FinishedRun, target: Target, notify: Notify, concurrency: str = BASE, *, embeds: bool = False
) -> Iterator[Generator]:
    """The model on a target, open while inside.

    Args:
        concurrency: of LoRA adapters, by its name in the recipe.
        embeds: it is to make vectors of texts.

    Raises:
        RecipeError: there is no such concurrency; lists those that there are.
        ModelError: this is an embedding model.
        CacheError: a stage that the target needs has not finished; names it.
    """
    if not embeds:
        run.require_generating()
    generator = _open(run, target, notify, concurrency)
    try:
        yield generator
    finally:
        generator.close()


def _open(run: FinishedRun, target: Target, notify: Notify, concurrency: str) -> Generator:
    require_concurrency(run, concurrency)
    config = run.config
    if target == "torch":
        from qairt.model.parameters import open_parameters
        from qairt.model.reference import Reference
        from qairt.runtime.torch_target import TorchGenerator

        parameters = open_parameters(model_of(run.env).source, config)
        branches = float_branches(run, concurrency, parameters)
        reference = Reference(parameters, keep_weights=True, branches=branches)
        length = run.context_length or config.max_position_embeddings
        return TorchGenerator(reference, length, run.settings.generator.sequence_length)
    stored = stored_branches(run, concurrency)
    if target == "htp-emulator":
        from qairt.runtime.emulator import EmulatedGenerator
        from qairt.stages.facts import soc_of

        return EmulatedGenerator(_parts(run), config, notify=notify, soc=soc_of(run.env), branches=stored)
    from qairt.runtime.chain import PartChain

    return PartChain(_parts(run), config, branches=stored, shorter=run.shorter_parts)


def _parts(run: FinishedRun) -> dict[int, list[PartGraph]]:
    """The parts that read a prompt in calls of `generator.sequence_length` tokens at most.

    Raises:
        RecipeError: every graph reads more.
    """
    parts, most = run.quantized_parts, run.settings.generator.sequence_length
    if most is None:
        return parts
    fitting = {ar: of_ar for ar, of_ar in parts.items() if ar <= most}
    if not fitting:
        raise RecipeError(
            f"generator.sequence_length is {most}, but every graph reads more tokens in a call",
            where=run.recipe.where("generator.sequence_length"),
            remedy=f"set it to {min(parts)} or more: the graphs have AR {', '.join(map(str, sorted(parts)))}",
        )
    return fitting
