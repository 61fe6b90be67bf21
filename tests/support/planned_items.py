"""Stand-ins for the items of a plan, as far as the order and the scheduler look at them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any


def item(name: str, *sources: Any, seconds: float = 1.0, ram: int = 1, threads: int = 1, alone: bool = False) -> Any:
    task = SimpleNamespace(estimate=SimpleNamespace(threads=threads, alone=alone))
    upstream = [*sources, *(above for source in sources for above in source.upstream)]
    return SimpleNamespace(
        name=name,
        sources=list(sources),
        waits_for=list(sources),
        upstream=upstream,
        seconds=seconds,
        peak_ram=ram,
        task=task,
    )


def parts(*links: float) -> list[Any]:
    """For each part two items of 1 s, two of 2 s after them, and a link of so many seconds; then a bundle."""
    first = [item(f"split {part} ar{ar}") for part in range(len(links)) for ar in (1, 8)]
    second = [item(one.name.replace("split", "quantize"), one, seconds=2) for one in first]
    merged = [item(f"link {n}", *second[2 * n : 2 * n + 2], seconds=seconds) for n, seconds in enumerate(links)]
    return [*first, *second, *merged, item("bundle", *merged)]
