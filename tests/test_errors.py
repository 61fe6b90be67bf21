"""Every exception as the failure of an item: what, where, remedy."""

from __future__ import annotations

import errno

import pytest

from qairt.errors import GraphError, ItemFailed, QairtError, as_qairt_error

FULL = (
    "free space on that disk (`qairt cache prune` removes what no run needs), or use another one with --cache-dir; "
    "then run again: finished items are kept"
)
NO_SPACE = ("no space left on device", "fan ar1", FULL)


@pytest.mark.parametrize(
    ("error", "what", "where", "remedy"),
    [
        (GraphError("no such node", where="node_7", remedy="leave it out"), "no such node", "node_7", "leave it out"),
        (GraphError("no such node"), "no such node", "fan ar1", "see the log"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            "no space left on device",
            "/x/y",
            FULL,
        ),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), *NO_SPACE),
        (OSError("Not enough free space to write 40000000 bytes after offset 128"), *NO_SPACE),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/y"),
            "Permission denied (/x/y)",
            "fan ar1",
            "fix the permissions or choose another folder, then run again",
        ),
        (
            MemoryError(),
            "it ran out of memory",
            "fan ar1",
            "run fewer items at once (--jobs 1) or split the model further",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
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
