"""Pictures as inline SVG. They carry no text: labels stand beside them in HTML, so they are readable at any width.

Each says in words what it shows (`role="img"` and `aria-label`), and stretches to the room it is given.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT = 1000.0, 200.0
"""Of a curve, in its own units."""
_LANE = 10.0


def bar(share: float, says: str, kind: str = "") -> Markup:
    """A bar that fills `share` (0 … 1) of its row.

    Args:
        kind: its colour, a class of the style sheet.
    """
    return _rows([(0.0, min(max(share, 0.0), 1.0), kind)], says)


def lane(start: float, end: float, says: str, kind: str = "") -> Markup:
    """A bar from `start` to `end`, in parts of the row."""
    return _rows([(start, end, kind)], says)


def curve(points: Sequence[tuple[float, float]], says: str, kind: str = "") -> Markup:
    """An area below a line; points are (x, y) in parts of the width and height, in order of x."""
    placed = [(_WIDTH * min(max(x, 0.0), 1.0), _HEIGHT * (1 - min(max(y, 0.0), 1.0))) for x, y in points]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
    area = f"{placed[0][0]:.1f},{_HEIGHT:.0f} {line} {placed[-1][0]:.1f},{_HEIGHT:.0f}"
    grid = Markup("").join(
        Markup('<line class="grid" x1="0" x2="{}" y1="{y}" y2="{y}"/>').format(int(_WIDTH), y=y)
        for y in (0.5, _HEIGHT / 2, _HEIGHT - 0.5)
    )
    drawn = Markup('<polygon class="area" points="{}"/><polyline class="line" points="{}"/>').format(area, line)
    return Markup(
        '<svg class="curve {}" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}{}</svg>'
    ).format(kind, int(_WIDTH), int(_HEIGHT), says, grid, drawn)


def _rows(pieces: Sequence[tuple[float, float, str]], says: str) -> Markup:
    """Pieces of one row; a piece that is too short to be seen is drawn as wide as a hair."""
    hair = 0.004
    drawn = Markup("").join(
        Markup('<rect class="{}" x="{:.1f}" y="0" width="{:.1f}" height="{}"/>').format(
            f"piece {kind}".strip(),
            _WIDTH * min(start, 1 - hair),
            _WIDTH * max(end - start, hair if end > start else 0.0),
            int(_LANE),
        )
        for start, end, kind in pieces
    )
    return Markup(
        '<svg class="lane" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(int(_WIDTH), int(_LANE), says, drawn)
