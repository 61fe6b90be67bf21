"""Steps of training: their order, and going on after a kill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from qairt.quant.execution import no_progress
from qairt.quant.tune.adam import Adam
from qairt.quant.tune.training import CHUNKS_PER_STEP, train

STEPS = 12


def run(folder: Path | None, *, work: str = "", seed: int = 0, stop_at: int = STEPS) -> tuple[torch.Tensor, list[int]]:
    """The value after training, and the chunks it read, in order."""
    values, read = {"value": torch.ones(3)}, list[int]()

    def gradients(places: Sequence[int]) -> dict[str, torch.Tensor]:
        if len(read) == CHUNKS_PER_STEP * stop_at:
            raise KeyboardInterrupt
        read.extend(places)
        return {"value": values["value"] * sum(places)}

    adam = Adam(values, 0.1, STEPS)
    train(adam, range(4, 10), gradients, seed=seed, work=work, folder=folder, progress=no_progress)
    return values["value"], read


def test_every_chunk_is_read_before_one_is_read_again():
    _, read = run(None)
    assert len(read) == STEPS * CHUNKS_PER_STEP
    for start in range(0, len(read), 6):
        assert sorted(read[start : start + 6]) == list(range(4, 10))
    assert run(None, seed=1)[1] != read


def test_a_killed_training_resumes_where_it_was_saved(tmp_path: Path):
    whole, read = run(None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=7)
    value, rest = run(tmp_path)
    torch.testing.assert_close(value, whole, rtol=0, atol=0)
    assert rest == read[CHUNKS_PER_STEP * 5 :]
    assert run(tmp_path, work="other")[1] == read
