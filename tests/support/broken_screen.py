"""`python -m broken_screen WORDS`: the toy command line, whose stage matrix fails as soon as a run has an item done."""

from __future__ import annotations

import sys
from typing import Any

import toy_cli

from qairt.tui.widgets.matrix import StageMatrix

show = StageMatrix.show


def fail_late(self: StageMatrix, state: Any, *rest: Any, **named: Any) -> Any:
    if state.status == "running" and state.count("done"):
        raise ZeroDivisionError("a fault of the screen")
    return show(self, state, *rest, **named)


StageMatrix.show = fail_late  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(toy_cli.toys_and_main(sys.argv[1:]))
