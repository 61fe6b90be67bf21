"""Training by steps, each on a few chunks of text in a random order; a killed one resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from qairt.quant.execution import Progress
from qairt.quant.tune.adam import Adam, SavedSteps

CHUNKS_PER_STEP = 2
_STEPS_PER_SAVE = 5


def train(
    adam: Adam,
    learned: Sequence[int],
    gradients: Callable[[Sequence[int]], Mapping[str, Tensor]],
    *,
    seed: int,
    work: str,
    folder: Path | None,
    progress: Progress,
) -> None:
    """Take all steps of an optimizer.

    Args:
        learned: numbers of the chunks to train on; all are read before one is read again.
        gradients: of the loss on some of them, by the names of the optimizer's values.
        seed: of their order.
        work: digest of what is being done; saved steps of other work are not used.
        folder: keeps the steps done; nothing does when None.
    """
    saved = SavedSteps(folder / "steps.safetensors", work, adam) if folder is not None else None
    order, places = torch.Generator().manual_seed(seed), list[int]()
    for step in range(adam.steps):
        while len(places) < CHUNKS_PER_STEP:
            places += [learned[place] for place in torch.randperm(len(learned), generator=order).tolist()]
        here, places = places[:CHUNKS_PER_STEP], places[CHUNKS_PER_STEP:]
        if step < adam.done:
            continue
        progress(step / adam.steps, f"step {step + 1} of {adam.steps}")
        adam.step(gradients(here))
        if saved is not None and (step + 1) % _STEPS_PER_SAVE == 0:
            saved.save()
