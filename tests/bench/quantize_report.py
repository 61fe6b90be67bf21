"""The benchmark's table and curve, as text, Markdown and JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FLOAT, AIMET = "float", "AIMET SeqMSE"
COSTS = ("seconds", "CPU s", "peak RSS")
HEADINGS = ("technique", "calibration", *COSTS, "perplexity", "vs float", "speed vs AIMET", "load")


@dataclass(frozen=True)
class Row:
    """One measurement."""

    technique: str
    calibration: str
    """Chunks x tokens; empty for the float model."""
    seconds: float | None
    """Of the technique; None where nothing was quantized."""
    seconds_of_all: float | None
    """And of all that its process did to get there: imports, loading, tracing."""
    cpu_seconds: float | None
    """Of all threads; hardly touched by what else the machine did."""
    peak_rss: int | None
    perplexity: float
    load: float
    """The machine's load average when it ended: above the number of cores, seconds say little."""
    measured: str
    kept: bool
    """Measured in an earlier run of the benchmark."""
    seed: int = 0
    device: str = "cpu"


def as_table(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The rows as words, in the order of `HEADINGS`."""
    by_name = {row.technique: row for row in rows}
    reference, aimet = by_name.get(FLOAT), by_name.get(AIMET)

    def line(row: Row) -> tuple[str, ...]:
        above = f"{row.perplexity / reference.perplexity - 1:+.1%}" if reference and row is not reference else ""
        faster = f"{aimet.seconds / row.seconds:.1f} x" if aimet and aimet.seconds and row.seconds else ""
        return (
            row.technique,
            row.calibration,
            "" if row.seconds is None else f"{row.seconds:,.1f}",
            "" if row.cpu_seconds is None else f"{row.cpu_seconds:,.1f}",
            "" if row.peak_rss is None else f"{row.peak_rss / 1e6:,.0f} MB",
            f"{row.perplexity:.2f}",
            above,
            faster,
            f"{row.load:.1f}",
        )

    return [line(row) for row in rows]


def spreads(rows: Sequence[Row]) -> list[str]:
    """Of each technique that was measured with several seeds, the mean over the float model and how far they differ."""
    reference = next((row.perplexity for row in rows if row.technique == FLOAT), None)
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        if row.technique not in (FLOAT, AIMET) and reference:
            key = (row.technique, row.calibration.split(",")[0], row.device)
            found.setdefault(key, []).append(row.perplexity / reference - 1)
    return [
        f"{technique}, {calibration}, {device}: {statistics.mean(above):+.2%} over float, standard deviation "
        f"{statistics.stdev(above):.2%} over {len(above)} seeds"
        for (technique, calibration, device), above in found.items()
        if len(above) > 1
    ]


def gains_of_gpu(rows: Sequence[Row]) -> list[str]:
    """The seconds of a GPU over those of the CPU, for what was measured on both."""
    on_cpu = {(row.technique, row.calibration): row.seconds for row in rows if row.device == "cpu"}
    lines = []
    for row in rows:
        before = on_cpu.get((row.technique, row.calibration.removesuffix(", GPU")))
        if row.device != "cpu" and before and row.seconds:
            lines.append(f"{row.technique}, {row.calibration}: {row.seconds / before:.2f} of the CPU's seconds")
    return lines


def as_text(table: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[place]) for line in (HEADINGS, *table)) for place in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (HEADINGS, *table)
    )


def as_markdown(table: Sequence[tuple[str, ...]]) -> str:
    rule = ("---", "---", *["---:"] * (len(HEADINGS) - 2))
    return "\n".join("| " + " | ".join(line) + " |" for line in (HEADINGS, rule, *table))


def curve(rows: Sequence[Row], width: int = 72, height: int = 14) -> str:
    """Perplexity over seconds (logarithmic), a letter a measurement; `*` is on the front: nothing is both faster and
    better. Empty with less than two timed rows."""
    timed = [row for row in rows if row.seconds]
    if len(timed) < 2:
        return ""
    across = [math.log10(row.seconds or 1) for row in timed]
    upward = [row.perplexity for row in timed]
    lines = [[" "] * width for _ in range(height)]
    legend = []
    for place, row in enumerate(timed):
        letter = chr(ord("a") + place % 26)
        column = round((across[place] - min(across)) / ((max(across) - min(across)) or 1) * (width - 1))
        line = round((max(upward) - upward[place]) / ((max(upward) - min(upward)) or 1) * (height - 1))
        while lines[line][column] != " " and column < width - 1:
            column += 1
        lines[line][column] = letter
        front = "*" if not any(_better(other, row) for other in timed) else " "
        calibration = f", {row.calibration}" if row.calibration else ""
        legend.append(f"  {letter}{front} {row.technique}{calibration}: {row.seconds:,.1f} s, {row.perplexity:.2f}")
    scale = f"{10 ** min(across):,.0f} s".ljust(width - 10) + f"{10 ** max(across):,.0f} s".rjust(10)
    drawn = [
        f"{max(upward) if number == 0 else min(upward):8.2f} |" if number in (0, height - 1) else " " * 9 + "|"
        for number in range(height)
    ]
    picture = [start + "".join(line).rstrip() for start, line in zip(drawn, lines, strict=True)]
    return "\n".join([*picture, " " * 9 + "+" + "-" * width, " " * 10 + scale, "", *legend])


def write(rows: Sequence[Row], about: dict[str, Any], json_path: Path, markdown_path: Path) -> None:
    """Both files; `about` says on what was measured."""
    json_path.write_text(json.dumps({**about, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    facts = "\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in about.items())
    drawn = curve(rows)
    figure = f"\n## Time against perplexity\n\n```\n{drawn}\n```\n" if drawn else ""
    markdown_path.write_text(
        f"# Quantization: time, memory, perplexity\n\n{facts}\n\n{as_markdown(as_table(rows))}\n{figure}"
    )


def _better(one: Row, other: Row) -> bool:
    assert one.seconds is not None
    assert other.seconds is not None
    return one.seconds < other.seconds and one.perplexity < other.perplexity
