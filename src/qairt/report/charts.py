"""Charts as inline SVG. They hold no text: labels are beside them in HTML, so that they are readable at any width.

Each has a description for screen readers (`role="img"` and `aria-label`), and scales to the available width.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT = 1000.0, 200.0
"""The viewBox of a curve."""
_LANE = 10.0


def bar(share: float, label: str, kind: str = "") -> Markup:
    """A bar that fills `share` (0 … 1) of its row.

    Args:
        label: its description.
        kind: a class of the style sheet, for its colour.
    """
    return _row([(0.0, min(max(share, 0.0), 1.0), kind)], label)


def lane(start: float, end: float, label: str, kind: str = "") -> Markup:
    """A bar from `start` to `end`, as fractions of the row."""
    return _row([(start, end, kind)], label)


def curve(points: Sequence[tuple[float, float]], label: str, kind: str = "") -> Markup:
    """A filled line; points are (x, y) as fractions of width and height, sorted by x."""
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
    ).format(kind, int(_WIDTH), int(_HEIGHT), label, grid, drawn)


def _row(pieces: Sequence[tuple[float, float, str]], label: str) -> Markup:
    """One row of pieces; a piece too short to be visible is drawn as a hairline."""
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
    ).format(int(_WIDTH), int(_LANE), label, drawn)
