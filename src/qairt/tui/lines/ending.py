"""Text of the page at the end of a run. No widgets here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from textual.content import Content

from qairt.amounts import count, duration, size
from qairt.engine.record.state import RunState
from qairt.engine.run.ending import Ending, Made
from qairt.tui.lines.matrix import plain
from qairt.tui.lines.wrap import wrapped
from qairt.tui.terminal.glyphs import Look

Quality = Sequence[tuple[str, str, str]]
"""Name, value and remark of each figure."""

_NAMES = 12
_KEY = {False: 5, True: 6}
"""Width of the column of keys; True: in ASCII, where one is `enter`."""
_WARNINGS = 8
_NEXT = (
    ("g", "generate", "answer a prompt with the quantized model"),
    ("e", "evaluate", "measure how good it is: perplexity and other metrics"),
    ("v", "verify", "compare each stage's graphs with the float model"),
    ("r", "report", "write one page about the run"),
    ("x", "export", "copy what a device needs to a folder"),
)
_Line = tuple[str, str, str]
"""Name, text and style."""


def ending_lines(
    state: RunState, ending: Ending | None, quality: Quality | None, look: Look, width: int
) -> tuple[list[Content], list[Content]]:
    """The page as two columns: what was made and what it took; how good it is and what to do next.

    Args:
        ending: None while it is still read; likewise `quality`.
        width: of each column.
    """
    left = [
        *_section("", _outcome(state), look, width),
        *_section("Made", _made(ending), look, width),
        *_section("Time", _time(state, ending), look, width),
    ]
    right = [
        *_section("Quality and speed", _quality(quality), look, width),
        *_section("Warnings", _warnings(ending), look, width),
        *_section(
            "Next",
            _next(state, ending, look),
            look,
            width,
            column=_KEY[look.ascii],
            name_style="bold $footer-key-foreground",
        ),
    ]
    return left, right


def can_export(state: RunState, ending: Ending | None) -> bool:
    """Whether the run made something to copy, as far as that is known."""
    return state.status == "done" or bool(ending is not None and ending.made)


def _section(
    title: str,
    texts: Iterator[_Line],
    look: Look,
    width: int,
    *,
    column: int = _NAMES,
    name_style: str = "$text-muted",
) -> list[Content]:
    found = list(texts)
    lines = [Content(""), Content.styled(title, "bold $title")] if title and found else []
    for name, text, style in found:
        lines += _in_columns(name, look.text(plain(text)), style, name_style, column if title else 0, width)
    return lines


def _next(state: RunState, ending: Ending | None, look: Look) -> Iterator[_Line]:
    lines = list(_NEXT)
    if state.status in ("failed", "interrupted"):
        what = "failed" if state.status == "failed" else "was interrupted"
        lines.insert(0, ("⏎", "stages", f"see what {what}; there r runs it again"))
    if not can_export(state, ending):
        lines.pop()
    if state.error:
        lines = [("⏎", "stages", "go back"), ("r", "report", "write one page about the run")]
    for key, name, about in lines:
        yield look.text(key), f"{name.ljust(_NAMES - 2)}{about}", ""


def _outcome(state: RunState) -> Iterator[_Line]:
    mark = {"done": "✓", "failed": "×", "interrupted": "?"}.get(state.status, "▶")
    role = state.status if state.status in ("done", "failed", "interrupted", "running") else "waiting"
    ran, cached = len(state.ended("done", "warn")), len(state.ended("cached"))
    yield "", f"{mark} {state.status} in {duration(state.seconds)}", f"bold $state-{role}"
    made = f"{count(ran, 'item')} made, {cached} reused from the cache"
    failed = state.count("failed")
    yield "", f"{made}, {failed} failed" if failed else made, ""
    for line in state.error.splitlines():
        yield "", line, "$state-failed"
    for item in [item for item in state.items.values() if item.status == "failed"][:_WARNINGS]:
        error = item.error or {}
        yield "", f"{item.name}: {error.get('what', 'it failed')}", "$state-failed"
        if error.get("remedy"):
            yield "", f"  {error['remedy']}", "bold"


def _made(ending: Ending | None) -> Iterator[_Line]:
    if ending is None:
        yield "", "reading the results …", "$text-muted"
        return
    for made in ending.made:
        yield "size", f"{size(made.bytes)}, {count(made.count, 'file')}", "bold"
        yield "folder", str(made.folder), ""
        if len(ending.made) == 1:
            yield from _files(made)


def _files(made: Made) -> Iterator[_Line]:
    longest = max((len(name) for name, _ in made.files), default=0)
    for name, bytes_ in made.files:
        yield "", f"{name.ljust(longest)}  {size(bytes_):>8}", "$text-muted"
    if 0 < len(made.files) < made.count:
        yield "", f"and {made.count - len(made.files)} more", "$text-muted"


def _time(state: RunState, ending: Ending | None) -> Iterator[_Line]:
    yield "took", duration(state.seconds), ""
    if ending is not None and ending.seconds_saved >= 1:
        reused = count(len(state.ended("cached")), "item")
        yield "saved", f"{duration(ending.seconds_saved)} of work: {reused} reused from the cache", "$state-cached"
    if state.peak_ram:
        of = f" of {size(state.ram)}" if state.ram else ""
        yield "peak RAM", f"{size(state.peak_ram)}{of}", ""
    if ending is not None and ending.bytes_written:
        yield "written", size(ending.bytes_written), ""


def _quality(quality: Quality | None) -> Iterator[_Line]:
    if quality is None:
        yield "", "reading what was measured …", "$text-muted"
    elif not quality:
        yield "", "not measured yet: press e or v", "$text-muted"
    for name, value, remark in quality or ():
        yield name.lower(), f"{value}  {remark}".rstrip(), ""


def _warnings(ending: Ending | None) -> Iterator[_Line]:
    warnings = ending.warnings if ending is not None else ()
    for warning in warnings[:_WARNINGS]:
        yield "!", warning, "$state-warn"
    if len(warnings) > _WARNINGS:
        yield "", f"and {len(warnings) - _WARNINGS} more, in the log", "$text-muted"


def _in_columns(name: str, text: str, style: str, name_style: str, column: int, width: int) -> Iterator[Content]:
    for number, line in enumerate(wrapped(text, max(width - column - 2, 0))):
        yield Content.assemble(
            "  ", ((name if number == 0 else "").ljust(column)[:column], name_style), (line, style or "")
        )
