"""Small plots as SVG text, without a plotting package. They scale, and adapt to light and dark mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from math import ceil, floor, log10

Point = tuple[float, float]

WIDTH = 720
_STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f }
.title { font-size: 15px; font-weight: 600 }
.faint { fill: #57606a }
.rule { stroke: #d0d7de; stroke-width: 1 }
.bar, .dot { fill: #2f6fb0 }
.band { fill: #8c959f; fill-opacity: 0.12 }
.line { fill: none; stroke: #2f6fb0; stroke-width: 1.6 }
.line.second { stroke: #b35900 }
.dot.second { fill: #b35900 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .faint { fill: #9da7b1 } .rule { stroke: #3d444d }
  .bar, .dot { fill: #6cb0f2 } .line { stroke: #6cb0f2 } .line.second { stroke: #f0a35e } .dot.second { fill: #f0a35e }
}
"""
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 44


def picture(title: str, description: str, height: float, parts: Iterable[str]) -> str:
    """An SVG file of `WIDTH` by `height`.

    Args:
        title: shown above the plot.
        description: one sentence for screen readers.
        parts: SVG elements.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(f"{title}. {description}")}">\n<style>{_STYLE}</style>\n'
        f'<text class="title" x="12" y="24">{escape(title)}</text>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars.

    Args:
        rows: name, length, and the label after the bar; from top to bottom.
    """
    longest = max((length for _, length, _ in rows), default=0.0) or 1.0
    parts = []
    for row, (name, length, text) in enumerate(rows):
        y = _TOP + 24 * row
        width = max(290 * length / longest, 1)
        parts.append(
            f'<text x="200" y="{y + 14}" text-anchor="end">{escape(_short(name, 28))}</text>'
            f'<rect class="bar" x="208" y="{y + 3}" width="{width:.1f}" height="14" rx="2"/>'
            f'<text class="faint" x="{214 + width:.1f}" y="{y + 14}">{escape(text)}</text>'
        )
    description = "; ".join(f"{name}: {text}" for name, _, text in rows)
    return picture(title, description, _TOP + 24 * len(rows) + 12, parts)


def lines(
    title: str,
    series: Sequence[tuple[str, Sequence[Point]]],
    *,
    x_label: str,
    y_label: str,
    bands: Sequence[tuple[str, float, float]] = (),
    height: int = 300,
) -> str:
    """Lines over an x axis that starts at zero.

    Args:
        series: one or two, each with a name and points from left to right.
        bands: named intervals of the x axis.
    """
    right = max((x for _, points in series for x, _ in points), default=0.0) or 1.0
    top = _round_up(max((y for _, points in series for _, y in points), default=0.0))
    wide, high = WIDTH - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def at(x: float, y: float) -> Point:
        return _LEFT + wide * x / right, height - _BOTTOM - high * y / top

    parts = []
    for place, (name, start, end) in enumerate(bands):
        (x1, y1), (x2, _) = at(start, top), at(end, top)
        shade = f'<rect class="band" x="{x1:.1f}" y="{y1:.1f}" width="{x2 - x1:.1f}" height="{high}"/>'
        label = f'<text class="faint" x="{x1 + 3:.1f}" y="{y1 + 12 + 14 * place:.1f}">{escape(name)}</text>'
        parts.append((shade if place % 2 == 0 else "") + label)
    parts += [_y_rule(at, top * step / 4, right, f"{top * step / 4:,.4g}") for step in range(5)]
    parts += [
        f'<text class="faint" x="{at(right * step / 4, 0)[0]:.1f}" y="{height - 28}" '
        f'text-anchor="{("start", "middle", "middle", "middle", "end")[step]}">{right * step / 4:,.3g}</text>'
        for step in range(5)
    ]
    maxima = []
    for place, (name, points) in enumerate(series):
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        kind = " second" if place else ""
        parts.append(f'<polyline class="line{kind}" points="{drawn}"/>')
        if len(series) > 1:
            x = WIDTH - _RIGHT - 110 * (len(series) - place)
            parts.append(
                f'<rect class="dot{kind}" x="{x}" y="15" width="10" height="10"/>'
                f'<text x="{x + 15}" y="24">{escape(name)}</text>'
            )
        maxima.append(f"{name}: at most {max((y for _, y in points), default=0):,.4g}")
    parts.append(
        f'<text class="faint" x="{WIDTH / 2:.0f}" y="{height - 10}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(
        f'<text class="faint" x="14" y="{height / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {height / 2:.0f})">{escape(y_label)}</text>'
    )
    return picture(title, f"{y_label} over {x_label}; {'; '.join(maxima)}", height, parts)


def roofline(title: str, flops_per_s: float, bytes_per_s: float, points: Sequence[tuple[str, Point]]) -> str:
    """Measured points under a machine's roofline; both axes are logarithmic.

    Args:
        points: name, (FLOP per byte, FLOP per second).
    """
    height = 340
    ridge = flops_per_s / bytes_per_s
    xs = [ridge, *(x for _, (x, _) in points)]
    ys = [flops_per_s, *(y for _, (_, y) in points)]
    left, right = floor(log10(min(xs))) - 0.3, ceil(log10(max(xs))) + 0.3
    low, top = floor(log10(min(*ys, bytes_per_s * 10**left))), ceil(log10(max(ys))) + 0.2
    wide, high = WIDTH - _LEFT - _RIGHT, height - _TOP - _BOTTOM

    def at(x: float, y: float) -> Point:
        return (
            _LEFT + wide * (log10(x) - left) / (right - left),
            height - _BOTTOM - high * (log10(y) - low) / (top - low),
        )

    parts = [_y_rule(at, 10.0**power, 10**right, _power(power), 10**left) for power in range(low, floor(top) + 1)]
    for power in range(ceil(left), floor(right) + 1):
        x, y = at(10.0**power, 10.0**low)
        parts.append(f'<text class="faint" x="{x:.1f}" y="{y + 16:.1f}" text-anchor="middle">{10.0**power:g}</text>')
    corner = [(10**left, bytes_per_s * 10**left), (ridge, flops_per_s), (10**right, flops_per_s)]
    roof = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in corner))
    parts.append(f'<polyline class="line" points="{roof}"/>')
    for name, (x, y) in points:
        across, up = at(x, y)
        beside, anchor = (-9, "end") if across > WIDTH - 180 else (9, "start")
        parts.append(
            f'<circle class="dot second" cx="{across:.1f}" cy="{up:.1f}" r="5"/>'
            f'<text x="{across + beside:.1f}" y="{up + 16:.1f}" text-anchor="{anchor}">'
            f"{escape(name)}: {y / 1e9:,.3g} GFLOP/s</text>"
        )
    parts.append(
        f'<text class="faint" x="{WIDTH / 2:.0f}" y="{height - 8}" text-anchor="middle">FLOP per byte read</text>'
        f'<text class="faint" x="14" y="{height / 2:.0f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {height / 2:.0f})">FLOP/s</text>'
    )
    description = (
        f"The machine's peak is {flops_per_s / 1e9:,.3g} GFLOP/s and {bytes_per_s / 1e9:,.3g} GB/s; "
        + "; ".join(f"{name} reaches {y / 1e9:,.3g} GFLOP/s" for name, (_, y) in points)
    )
    return picture(title, description, height, parts)


def _y_rule(at: Callable[[float, float], Point], y: float, right: float, text: str, left: float = 0.0) -> str:
    (x1, up), (x2, _) = at(left, y), at(right, y)
    return (
        f'<line class="rule" x1="{x1:.1f}" y1="{up:.1f}" x2="{x2:.1f}" y2="{up:.1f}"/>'
        f'<text class="faint" x="{x1 - 6:.1f}" y="{up + 4:.1f}" text-anchor="end">{escape(text)}</text>'
    )


def _round_up(value: float) -> float:
    """The next 1, 2, 4, 5 or 8 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if value <= step * power * 1.0000001)


def _power(power: int) -> str:
    names = {9: "1 G", 10: "10 G", 11: "100 G", 12: "1 T", 13: "10 T", 14: "100 T", 8: "100 M", 7: "10 M", 6: "1 M"}
    return names.get(power, f"1e{power}")


def _short(text: str, max_length: int) -> str:
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
