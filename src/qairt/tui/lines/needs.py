"""What an item needs, and what needs it, as lines. No widgets here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from textual.content import Content

from qairt.amounts import duration
from qairt.engine.record.item_state import ItemState
from qairt.engine.record.state import RunState
from qairt.tui.lines.matrix import ItemKey, plain
from qairt.tui.terminal.glyphs import Look, in_words


@dataclass(frozen=True)
class NeedsLine:
    """One line: an item, or a title."""

    text: Content
    key: ItemKey | None = None
    """None for a title."""


def needs_lines(run: RunState, item: ItemState, look: Look) -> list[NeedsLine]:
    """The item between what it is built from and what is built from it, by distance; each other item once."""
    by_name = {each.name: each for each in run.items.values()}
    users: dict[str, list[str]] = {}
    for each in run.items.values():
        for source in each.sources:
            users.setdefault(source, []).append(each.name)
    sources = {name: list(each.sources) for name, each in by_name.items()}
    needs, needed = list(_reached(item.name, sources)), list(_reached(item.name, users))
    lines = [NeedsLine(Content.styled("needs", "bold $title"))]
    lines += [_line(by_name, name, depth, look) for name, depth in needs] or [_nothing("nothing: it comes first")]
    lines += [NeedsLine(Content("")), _line(by_name, item.name, 0, look), NeedsLine(Content(""))]
    lines.append(NeedsLine(Content.styled("is needed by", "bold $title")))
    lines += [_line(by_name, name, depth, look) for name, depth in needed] or [_nothing("nothing: it comes last")]
    return lines


def _reached(start: str, edges: dict[str, list[str]]) -> Iterator[tuple[str, int]]:
    """Every item that can be reached, the nearest first, with its distance."""
    seen, level, depth = {start}, [start], 0
    while level:
        depth += 1
        found: list[str] = []
        for name in level:
            for other in edges.get(name, ()):
                if other not in seen:
                    seen.add(other)
                    found.append(other)
        for name in found:
            yield name, depth
        level = found


def _line(by_name: dict[str, ItemState], name: str, depth: int, look: Look) -> NeedsLine:
    item = by_name.get(name)
    indent = "  " * max(depth, 1)
    if item is None:
        return NeedsLine(Content(look.text(f"{indent}{plain(name)}")))
    took = f"  {duration(item.seconds)}" if item.seconds else ""
    return NeedsLine(
        Content.assemble(
            indent,
            (look.mark(item.status), f"bold $state-{item.status}"),
            (look.text(f" {plain(name)}"), "" if depth else "bold"),
            (f"  {in_words(item.status)}{took}", "$text-muted"),
        ),
        (item.stage, item.label),
    )


def _nothing(text: str) -> NeedsLine:
    return NeedsLine(Content.styled(f"  {text}", "$text-muted"))
