"""Text of pane 5 about one item: its status, why it runs, what failed, its manifest entry. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from textual.content import Content

from qairt.amounts import count, duration, size
from qairt.engine.cache.entry import Entry
from qairt.engine.cache.manifest_words import CURRENT
from qairt.engine.cache.sentences import when_cleared
from qairt.engine.plan.planned import PlannedItem, short
from qairt.engine.record.eta import is_overdue
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.sentences import stopped
from qairt.engine.record.state import RunState
from qairt.engine.record.waiting import waits_for
from qairt.tui.lines.matrix import percent, plain
from qairt.tui.lines.plan import spread
from qairt.tui.lines.wrap import wrapped
from qairt.tui.terminal.glyphs import MARKS, Look, in_words

_NAMES = 9
"""Width of the names on the left."""
_SETTING = 28
"""Width of the longest names of settings and files that are aligned."""
_HANGING = 4
_LOG_LINES = 12
_DIGEST = 12


def detail_lines(
    item: ItemState,
    planned: PlannedItem | None,
    entry: Entry | None,
    run: RunState,
    look: Look,
    width: int = 0,
    *,
    manifest: Sequence[tuple[str, str]] = (),
) -> list[Content]:
    """The pane's lines: the current status first, then what the manifest says, then the cache entry.

    Args:
        manifest: names and values of the item's record, see `ManifestReader`.
        width: of the pane; longer values continue below their beginning. 0 for no limit.
    """
    texts = [
        *_state(item, run, look),
        *_failure(item),
        *_plan(item, planned),
        *_manifest(manifest),
        *_entry(entry, manifest),
    ]
    if entry is None and planned is not None:
        texts += _config(planned.inputs)
    return [line for name, text, style in texts for line in _content(name, text, style, look, width)]


_Line = tuple[str, str, str]
"""A name (if empty, the text has the whole width), the text, and its style."""


def _state(item: ItemState, run: RunState, look: Look) -> Iterator[_Line]:
    style = f"bold $state-{item.status}"
    reached = f" {percent(item, time.time())}" if item.status == "running" and item.fraction else ""
    yield "", item.name, "bold"
    meaning = MARKS[item.status].meaning
    if item.cleared is not None and item.status == "cleared":
        meaning = when_cleared(item.cleared, time.time(), "z").removeprefix("cleared ")
    explained = "" if item.status == "running" or meaning == item.status else f": {meaning}"
    yield "state", f"{look.mark(item.status)} {in_words(item.status)}{reached}{explained}", style
    if item.message:
        yield "", item.message, ""
    if item.host:
        yield "made on", item.host, ""
    if waits := waits_for(item, run):
        yield "waiting", waits, ""
    if item.status in ("running", "quiet") and item.started is not None:
        yield "elapsed", duration(max(run.now - item.started, 0.0)), ""
        if item.peak_rss:
            yield "memory", f"{size(item.peak_rss)} at its peak so far", ""
    if item.stopped_pid and item.status == "quiet":
        yield "stopped", stopped(item.stopped_pid), ""
    elif item.quiet_seconds and item.status == "quiet":
        yield "silent", f"{duration(item.quiet_seconds)} without output or CPU use", ""
    if item.status in ("running", "quiet", "waiting", "ready", "stale") and item.expected_seconds:
        basis = f"from {count(item.samples, 'earlier run')}" if item.samples else "estimated"
        takes = spread(item.expected_seconds, item.expected_low, item.expected_high)
        ram = f", {size(item.expected_ram)} of memory" if item.expected_ram else ""
        late = "longer than estimated: " if is_overdue(item, run.now) else ""
        yield "expected", f"{late}{takes}{ram}; {basis}", "$state-quiet" if late else ""
    if item.status in ("done", "warn") and item.seconds:
        yield "took", f"{duration(item.seconds)}, peak {size(item.peak_rss)}", ""
    if item.attempt > 1:
        yield "attempt", str(item.attempt), ""
    if item.log:
        yield "log", item.log, ""


def _failure(item: ItemState) -> Iterator[_Line]:
    error = item.error
    if error is None:
        return
    yield "what", str(error.get("what") or "no reason was given"), "bold $state-failed"
    if error.get("where"):
        yield "where", str(error["where"]), ""
    if error.get("remedy"):
        yield "remedy", str(error["remedy"]), "bold"
    tail = error.get("log_tail")
    if isinstance(tail, list) and tail:
        yield "", "last lines of the log:", "$text-muted"
        for line in tail[-_LOG_LINES:]:
            yield "", f"  {line}", ""


def _plan(item: ItemState, planned: PlannedItem | None) -> Iterator[_Line]:
    reason = item.reason or (planned.reason if planned is not None else "")
    if reason:
        yield "why", reason, ""
    if item.key:
        yield "key", item.key, ""
    for name in item.sources:
        yield "from", name, ""


def _manifest(words: Sequence[tuple[str, str]]) -> Iterator[_Line]:
    if words:
        yield "", "", ""
        yield "", "in manifest.json", "bold"
    for name, text in words:
        style = "" if name != "manifest" or text == CURRENT else "$state-stale"
        yield name, text, style


def _entry(entry: Entry | None, manifest: Sequence[tuple[str, str]]) -> Iterator[_Line]:
    if entry is None:
        return
    yield "", "", ""
    yield "", "in the cache", "bold"
    if ("manifest", CURRENT) not in manifest:  # else it says the same
        yield "built", entry.timestamp[:19].replace("T", " ") + " UTC", ""
        yield "artifact", str(entry.directory), ""
        peak = f", peak {size(entry.peak_rss)}" if entry.peak_rss else ""
        yield "took", f"{duration(entry.seconds)}{peak}", ""
        yield "key", entry.key, ""
    released = "" if entry.is_whole else f", {size(entry.bytes_here)} of them here, the others released"
    yield "size", f"{size(entry.bytes)}{released}", ""
    yield from _config(entry.inputs)
    yield "", count(len(entry.files), "file") + ":", "bold"
    longest = min(max((len(name) for name in entry.files), default=0), _SETTING)
    for name, file in sorted(entry.files.items()):
        digest = str(file["sha256"])[:_DIGEST]
        yield "", f"  {name.ljust(longest)}  {size(int(file['size'])):>7}  sha256 {digest}", ""


def _config(inputs: Mapping[str, object]) -> Iterator[_Line]:
    extras = inputs.get("extras")
    config, params = inputs.get("config"), extras.get("params") if isinstance(extras, Mapping) else None
    values = [*_flat(config, ""), *_flat(params, "")]
    if values:
        yield "", "settings:", "bold"
        longest = min(max(len(name) for name, _ in values), _SETTING)
        for name, value in values:
            yield "", f"  {name.ljust(longest)}  {short(value)}", ""


def _flat(value: object, path: str) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif value is not None and value != []:
        yield path, value


def _content(name: str, text: str, style: str, look: Look, width: int) -> Iterator[Content]:
    """The lines of one value: below its beginning, so that names and values stand in columns."""
    text = look.text(plain(text))
    if name:
        for number, line in enumerate(wrapped(text, max(width - _NAMES, 0))):
            yield Content.assemble(((name if number == 0 else "").ljust(_NAMES), "$text-muted"), (line, style))
        return
    for number, line in enumerate(wrapped(text, max(width - _HANGING, 0))):
        shown = " " * _HANGING + line if number else line
        yield Content.styled(shown, style) if style else Content(shown)
