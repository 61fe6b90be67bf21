"""Simulated compiles with noisy times on machines of different speed, as events and as history."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qairt.engine.plan.costs import Cost, CostHistory, size_bucket
from qairt.engine.plan.order import urgency
from qairt.engine.record import events as ev

JOBS = 2
STAGES = {  # seconds of one item on the nominal machine; how far it spreads
    "quantization": (300.0, 0.05),
    "export": (40.0, 0.1),
    "prepare_exports": (25.0, 0.1),
    "split_model": (15.0, 0.15),
    "mha_to_sha_conversion": (12.0, 0.15),
    "convert": (30.0, 0.2),
    "quantize": (60.0, 0.2),
    "generate_context_binary": (200.0, 0.15),
    "export_bundle": (10.0, 0.1),
}


@dataclass
class Work:
    """One simulated item."""

    stage: str
    label: str
    waits_for: list[Work]
    seconds: float
    estimate: float
    """What its stage expects by size, wrong by a factor of its own."""

    @property
    def name(self) -> str:
        return f"{self.stage} {self.label}"


def works(ars: tuple[int, ...] = (1, 128), splits: int = 4, seed: int = 0) -> list[Work]:
    """The items of a compile, in order; the embedding's part is small."""
    found: dict[str, Work] = {}

    def add(stage: str, label: str, *sources: str, share: float = 1.0) -> None:
        seconds = STAGES[stage][0] * share
        wrong = random.Random(f"{seed} {stage}").lognormvariate(0, 0.5)
        work = Work(stage, label, [found[name] for name in sources], seconds, seconds * wrong)
        found[work.name] = work

    add("quantization", "all")
    add("export", "all", "quantization all")
    for ar in ars:
        add("prepare_exports", f"ar{ar}", "export all")
    chain = ("split_model", "mha_to_sha_conversion", "convert", "quantize")
    for before, stage in zip(("prepare_exports", *chain), chain, strict=False):
        for ar in ars:
            for split in range(1, splits + 1):
                label = f"ar{ar}-split{split}"
                source = f"{before} ar{ar}" if before == "prepare_exports" else f"{before} {label}"
                add(stage, label, source, share=0.2 if split == 1 else 1.0)
    for split in range(1, splits + 1):
        sources = tuple(f"quantize ar{ar}-split{split}" for ar in ars)
        add("generate_context_binary", f"split{split}", *sources, share=0.1 if split == 1 else 1.0)
    add("export_bundle", "all", *(f"generate_context_binary split{split}" for split in range(1, splits + 1)))
    return list(found.values())


def run(
    items: list[Work], history: CostHistory, chance: random.Random, *, pace: float, host: str, jobs: int = JOBS
) -> Iterator[ev.Event]:
    """One run as events, from time 0; each item's cost is kept in `history` when it ends.

    Args:
        pace: of the machine: 2 takes twice as long.
    """
    today = pace * chance.lognormvariate(0, 0.08)  # what else the machine does
    took = {item.name: item.seconds * today * chance.lognormvariate(0, STAGES[item.stage][1]) for item in items}
    yield ev.RunStarted(
        time=0.0,
        run_id="1",
        recipe="",
        cache_dir="",
        pid=1,
        host=host,
        jobs=jobs,
        memory=0,
        items=[_planned(item, history, host) for item in items],
    )
    order: Any = urgency(items, jobs)  # type: ignore[arg-type]  # it asks for seconds and sources only
    waiting, made, now = sorted(items, key=lambda item: order[id(item)]), set(), 0.0
    running: list[tuple[float, int, Work]] = []
    while waiting or running:
        for item in [item for item in waiting if made.issuperset(map(id, item.waits_for))][: jobs - len(running)]:
            waiting.remove(item)
            heapq.heappush(running, (now + took[item.name], items.index(item), item))
            yield ev.ItemStarted(time=now, stage=item.stage, label=item.label, key="k", reason="", log="", threads=1)
        now, _, item = heapq.heappop(running)
        made.add(id(item))
        seconds = took[item.name]
        history.add(
            Cost(
                stage=item.stage,
                label=item.label,
                key="k",
                seconds=seconds,
                peak_rss=1,
                bytes=1,
                time=now,
                host=host,
                size=size_bucket(1000),
                estimate=item.estimate,
            )
        )
        yield ev.ItemFinished(
            time=now, stage=item.stage, label=item.label, key="k", seconds=seconds, peak_rss=1, bytes=1, directory=""
        )
    yield ev.RunFinished(time=now, status="done", seconds=now, executed=len(items), cached=0, failed=0)


def learned(folder: Path) -> CostHistory:
    """The history in a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return CostHistory(folder)


def _planned(item: Work, history: CostHistory, host: str) -> ev.PlannedEntry:
    expected = history.expect(
        item.stage, item.label, size=size_bucket(1000), tools="", host=host, estimate=item.estimate
    )
    return ev.PlannedEntry(
        stage=item.stage,
        label=item.label,
        key="k",
        cached=False,
        reason="",
        sources=tuple(source.name for source in item.waits_for),
        seconds=expected.seconds or item.estimate,
        seconds_low=expected.low,
        seconds_high=expected.high,
        samples=expected.samples,
        from_history=expected.samples > 0,
    )
