"""Nothing is lost or falsified when an operation on the cache ends, or the disk fails, at any of its changes."""

from __future__ import annotations

import pytest
from fault_trials import OPERATIONS, trials


@pytest.mark.parametrize("operation", OPERATIONS)
def test_at_some_changes(operation: str):
    for fault in ("exit", "ENOSPC"):
        done, problems = trials(operation, fault, samples=2)
        assert problems == []
        assert done >= 2


@pytest.mark.matrix
@pytest.mark.parametrize("fault", ["exit", "ENOSPC"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_at_every_change(operation: str, fault: str):
    assert trials(operation, fault)[1] == []


@pytest.mark.matrix
@pytest.mark.parametrize("fault", ["EIO", "EROFS"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_at_every_fifth_change(operation: str, fault: str):
    assert trials(operation, fault, step=5)[1] == []
