"""Standard output and standard error, with colour on a terminal.

Everything that a command prints passes `shown`: control characters in it are written out, so that nothing in a recipe,
a model, a log or a file's name can command the terminal.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Literal, TextIO

from qairt.printable import printable, printable_json

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}
Style = Literal["bold", "dim", "red", "green", "yellow"]

_MARK = os.urandom(8).hex()
"""Tells our own styles from what others wrote: no text can contain it."""
_OWN_STYLE = re.compile(rf"\033{_MARK}\[([0-9;]+)m")

_reserved: TextIO | None = None
"""Standard output, while `stray_output_to_stderr` keeps others from it."""


class ReaderGone(Exception):  # noqa: N818 - it is not an error
    """The reader of standard output has gone (`qairt plan | head`, a closed terminal)."""


def output_stream() -> TextIO:
    """Standard output, also inside `stray_output_to_stderr`."""
    return _reserved or sys.stdout


def shown(text: str) -> str:
    """`text` as it is printed: with our own styles, and every other control character written out."""
    parts = _OWN_STYLE.split(text)
    parts[::2] = map(printable, parts[::2])
    parts[1::2] = [f"\033[{codes}m" for codes in parts[1::2]]
    return "".join(parts)


def emit(text: str = "", *, end: str = "\n") -> None:
    """Print a line of the result to standard output.

    Raises:
        ReaderGone: nobody reads it any more.
    """
    try:
        print(shown(text), end=end, file=output_stream(), flush=True)
    except OSError as error:
        raise ReaderGone from error


def emit_json(document: object) -> None:
    """Print the whole result as one JSON document."""
    import json

    emit(printable_json(json.dumps(document, indent=2, default=str, ensure_ascii=False)))


def report(text: str) -> None:
    """Print a line beside the result (progress, notes, errors) to standard error."""
    with contextlib.suppress(OSError):
        print(shown(text), file=sys.stderr, flush=True)


class _Reported(io.TextIOBase):
    """A stream whose text goes to standard error as `report` prints it."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            sys.stderr.write(shown(text))
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.flush()


@contextlib.contextmanager
def stray_output_to_stderr() -> Iterator[None]:
    """Inside, standard output is reserved for `emit`: what a stage in this process prints goes to standard error."""
    global _reserved
    _reserved = sys.stdout
    try:
        with contextlib.redirect_stdout(_Reported()):
            yield
    finally:
        _reserved = None


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether `stream` (default: standard output) is a terminal that can move its cursor."""
    stream = stream or output_stream()
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns of the terminal; text that goes elsewhere is not wrapped."""
    return shutil.get_terminal_size().columns if is_terminal() else 10_000


def styled(text: str, *styles: Style, stream: TextIO | None = None) -> str:
    """`text` in these styles; plain if `NO_COLOR` is set or `stream` is no terminal."""
    if os.environ.get("NO_COLOR") or not is_terminal(stream):
        return text
    return f"\033{_MARK}[{';'.join(_CODES[style] for style in styles)}m{text}\033{_MARK}[0m"


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
