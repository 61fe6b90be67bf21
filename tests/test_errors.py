"""Every exception as the failure of an item: what, where, remedy."""

from __future__ import annotations

import errno

import pytest

from qairt.errors import GraphError, ItemFailed, QairtError, as_qairt_error


@pytest.mark.parametrize(
    ("error", "what", "where", "remedy"),
    [
        (GraphError("no such node", where="node_7", remedy="leave it out"), "no such node", "node_7", "leave it out"),
        (GraphError("no such node"), "no such node", "fan ar1", "see the log"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            "No space left on device (/x/y)",
            "fan ar1",
            "free disk space or fix the permissions, then run again",
        ),
        (
            MemoryError(),
            "it ran out of memory",
            "fan ar1",
            "run fewer items at once (--jobs 1) or split the model further",
        ),
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero", "fan ar1", "see the log"),
    ],
)
def test_any_error_becomes_the_failure_of_an_item(error: Exception, what: str, where: str, remedy: str):
    failed = ItemFailed.from_error(error, stage="fan", label="ar1", remedy="see the log", log_tail=["last line"])
    assert (failed.what, failed.where, failed.remedy) == (what, where, remedy)
    assert (failed.stage, failed.label, failed.log_tail) == ("fan", "ar1", ["last line"])


def test_a_failure_and_an_error_of_ours_stay_what_they_are():
    failed = ItemFailed("its process was ended by SIGKILL", stage="fan", label="ar1", signal=9)
    assert ItemFailed.from_error(failed, stage="fan", label="ar1") is failed
    error = QairtError("x")
    assert as_qairt_error(error) is error
