"""Where text goes: standard output and error, with colour where a person looks at them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
Style = Literal["bold", "dim", "red", "green", "yellow"]

_answers: TextIO | None = None
"""Standard output, while others are kept from it."""


class ReaderLeft(Exception):  # noqa: N818 - it is not an error
    """Whoever read standard output is gone (`qairt plan | head`, a closed terminal)."""


def answers() -> TextIO:
    """Where answers go: standard output."""
    return _answers or sys.stdout


def say(text: str = "", *, end: str = "\n") -> None:
    """A line of the answer, to standard output.

    Raises:
        ReaderLeft: nobody reads it.
    """
    try:
        print(text, end=end, file=answers(), flush=True)
    except OSError as error:
        raise ReaderLeft from error


@contextlib.contextmanager
def others_to_stderr() -> Iterator[None]:
    """While inside, standard output is ours alone: what a stage in this process prints goes to standard error."""
    global _answers
    _answers = sys.stdout
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        _answers = None


def tell(text: str) -> None:
    """A line beside the answer (errors, notes), to standard error."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def say_json(document: Any) -> None:
    """The whole answer as one JSON document."""
    say(json.dumps(document, indent=2, default=str, ensure_ascii=False))


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person looks at `stream` (standard output), on something that can move its cursor."""
    stream = stream or answers()
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns of the terminal; text that goes elsewhere is not wrapped."""
    return shutil.get_terminal_size().columns if is_terminal() else 10_000


def styled(text: str, *styles: Style, stream: TextIO | None = None) -> str:
    """`text` in these styles, plain where `NO_COLOR` is set or nobody looks."""
    if os.environ.get("NO_COLOR") or not is_terminal(stream):
        return text
    return f"\033[{';'.join(_CODES[style] for style in styles)}m{text}\033[0m"


def wrapped(text: str, *, indent: int) -> str:
    """`text` wrapped to the terminal, lines after the first indented."""
    if len(text) <= width():
        return text
    return "\n".join(textwrap.wrap(text, width(), subsequent_indent=" " * indent, break_on_hyphens=False))


def table(rows: Sequence[Sequence[str]], *, header: Sequence[str], right: Sequence[int] = ()) -> list[str]:
    """Rows in aligned columns; the last column is wrapped to the terminal.

    Args:
        right: columns that are aligned to the right.
    """
    last = len(header) - 1
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(last)]
    lines = []
    for number, row in enumerate((header, *rows)):
        cells = [
            row[column].rjust(widths[column]) if column in right else row[column].ljust(widths[column])
            for column in range(last)
        ]
        start = "  ".join([*cells, ""])
        room = width() - len(start)
        if row[last] and room >= 12:
            first, *more = textwrap.wrap(row[last], room, break_on_hyphens=False)
            whole = [start + first, *(" " * len(start) + line for line in more)]
        else:
            whole = [start + row[last]]
        lines += [styled(line.rstrip(), "bold") if number == 0 else line.rstrip() for line in whole]
    return lines
