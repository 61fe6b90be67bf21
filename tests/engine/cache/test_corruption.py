"""Nothing that was damaged is used silently, and nothing damaged is fatal: `tests/support/corruption_trials.py`."""

from __future__ import annotations

import pytest
from corruption_trials import HEALERS, damages, trials


def test_a_sample_of_damages_heals():
    done, problems = trials([*HEALERS], step=37)
    assert done >= 19
    assert problems == []


@pytest.mark.matrix
@pytest.mark.parametrize("healer", HEALERS)
def test_every_damage_heals(healer):
    done, problems = trials([healer])
    assert done == len(damages()) >= 110
    assert problems == []
