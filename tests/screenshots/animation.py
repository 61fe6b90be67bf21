"""A sequence of screens as one animated SVG, without scripts; unchanged lines are drawn once."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rich.color import Color
from rich.segment import Segment
from rich.terminal_theme import SVG_EXPORT_THEME

WIDTH, HEIGHT, SIZE = 8.4, 17.0, 14.0
"""Width and height of a cell, and the font size, in pixels."""
FONTS = "'JetBrains Mono','DejaVu Sans Mono',Menlo,Consolas,monospace"

Line = tuple[Segment, ...]
Screen = Sequence[Line]
"""The lines of a screen."""


def animated(screens: Sequence[Screen], columns: int, *, seconds: float) -> str:
    """Show each screen for `seconds`, in a loop."""
    rows = len(screens[0])
    number = len(screens)
    groups, spans = [], set()
    for row in range(rows):
        drawn = [_drawn(screen[row], row) for screen in screens]
        start = 0
        for place in range(1, number + 1):
            if place == number or drawn[place] != drawn[start]:
                spans.add((start, place))
                groups.append(f'<g class="s{start}-{place}">{drawn[start]}</g>')
                start = place
    style = "\n".join(_style(first, last, number, seconds) for first, last in sorted(spans))
    width, height = columns * WIDTH + 16, rows * HEIGHT + 16
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}">\n'
        f"<style>text{{font:{SIZE}px {FONTS};white-space:pre}}.b{{font-weight:bold}}\n{style}</style>\n"
        f'<rect width="100%" height="100%" rx="8" fill="{PAPER}"/>\n'
        f'<g transform="translate(8 8)">\n' + "\n".join(groups) + "\n</g></svg>\n"
    )


def _style(first: int, last: int, number: int, seconds: float) -> str:
    name = f"s{first}-{last}"
    if (first, last) == (0, number):
        return ""
    begin, end = 100 * first / number, 100 * last / number
    steps = [f"{begin:.3f}%{{visibility:visible}}", f"{end:.3f}%{{visibility:hidden}}"]
    if first:
        steps.insert(0, "0%{visibility:hidden}")
    if last == number:
        steps[-1] = "100%{visibility:visible}"
    return (
        f".{name}{{visibility:hidden;animation:{name} {number * seconds:g}s step-end infinite}}"
        f"@keyframes {name}{{{''.join(steps)}}}"
    )


def _drawn(line: Line, row: int) -> str:
    boxes, texts, column = [], [], 0
    for segment in line:
        cells = segment.cell_length
        front, back = _colours(segment)
        x, length = column * WIDTH, cells * WIDTH
        if back != PAPER:
            boxes.append(
                f'<rect x="{x:.1f}" y="{row * HEIGHT:.1f}" width="{length + 0.2:.1f}" height="17.2" fill="{back}"/>'
            )
        if segment.text.strip():
            bold = ' class="b"' if segment.style and segment.style.bold else ""
            lead = len(segment.text) - len(segment.text.lstrip())
            text = segment.text.strip()
            texts.append(
                f'<text{bold} x="{x + lead * WIDTH:.1f}" y="{row * HEIGHT + 13:.1f}" fill="{front}"'
                f' textLength="{Segment(text).cell_length * WIDTH:.1f}">{escape(text)}</text>'
            )
        column += cells
    return "".join(boxes + texts)


PAPER = "#12161d"
"""The background; cells of this colour are not drawn."""


def _colours(segment: Segment) -> tuple[str, str]:
    style = segment.style
    front = _hex(style.color if style else None, "#d6dde9")
    back = _hex(style.bgcolor if style else None, PAPER)
    return (back, front) if style and style.reverse else (front, back)


def _hex(color: Color | None, default: str) -> str:
    return default if color is None or color.is_default else color.get_truecolor(SVG_EXPORT_THEME).hex
