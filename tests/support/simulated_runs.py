"""Runs of a whole compile, simulated: good, failed, killed, torn, large, six hours long.

`recorded_runs` has short ones, event by event.

    python -m simulated_runs FOLDER [--minutes 10] [--speed 10]

plays one in real time into the cache directory FOLDER, for soak tests and benchmarks. Nothing is computed. Random
numbers are seeded and recorded times begin at `BEGAN`, so a recorded run is reproducible.
"""

from __future__ import annotations

import argparse
import heapq
import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, product
from pathlib import Path
from typing import Any, Literal

from recorded_runs import BEGAN, line, record

from qairt.engine.axes import Coord, label
from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.record import events as ev
from qairt.engine.record.folder import RunFolder

Kind = Literal["good", "failing", "killed", "torn", "graphs", "long"]

COSTS = {  # seconds, peak RAM, bytes stored: those of one item of the SmolLM2 recipe on two cores
    "model_loading": (2.0, 3e8, 4e6),
    "quantization": (38.0, 12.4e8, 58e6),
    "export": (4.2, 5.3e8, 651e6),
    "prepare_exports": (2.0, 3e8, 2e6),
    "split_model": (2.9, 7.7e8, 3e6),
    "mha_to_sha_conversion": (4.0, 6e8, 30e6),
    "convert": (7.0, 10.4e8, 184e6),
    "quantize": (8.0, 8.5e8, 92e6),
    "generate_context_binary": (25.0, 11.4e8, 46e6),
    "export_bundle": (2.0, 2e8, 163e6),
}
MEMORY = 8 * 10**9
CORES = 4
_PER_PART = ("split_model", "mha_to_sha_conversion", "convert", "quantize")
_SAID = {"quantization": "layer", "generate_context_binary": "finalizing op", "quantize": "layer"}


def compile_plan(
    ars: Sequence[int] = (1, 128), splits: int = 4, contexts: Sequence[int] = (512,)
) -> list[ev.PlannedEntry]:
    """The items of a compile in order: 40 for two ARs and four splits, as for the SmolLM2 recipe."""
    graphs: list[Coord] = [
        ((("cl", cl),) if len(contexts) > 1 else ()) + (("ar", ar),) for cl, ar in product(contexts, ars)
    ]
    entries: list[ev.PlannedEntry] = []

    def add(stage: str, coord: Coord, *sources: str) -> None:
        seconds, ram, size = COSTS[stage]
        entries.append(
            ev.PlannedEntry(
                stage=stage,
                label=label(coord),
                coord=coord,
                key=random.Random(f"{stage} {label(coord)}").randbytes(32).hex(),
                cached=False,
                reason="not built yet",
                sources=sources,
                seconds=seconds,
                seconds_low=seconds * 0.9,
                seconds_high=seconds * 1.15,
                samples=4,
                peak_ram=int(ram),
                bytes=int(size),
                from_history=True,
            )
        )

    add("model_loading", ())
    add("quantization", (), "model_loading all")
    add("export", (), "quantization all")
    for graph in graphs:
        add("prepare_exports", graph, "export all")
    before = dict.fromkeys(range(1, splits + 1), "prepare_exports")
    for stage in _PER_PART:
        parts = range(2 if stage == "mha_to_sha_conversion" else 1, splits + 1)  # the embedding has no heads
        for graph, part in product(graphs, parts):
            source = label(graph) if before[part] == "prepare_exports" else label((*graph, ("split", part)))
            add(stage, (*graph, ("split", part)), f"{before[part]} {source}")
        before |= dict.fromkeys(parts, stage)
    for part in range(1, splits + 1):
        sources = [f"quantize {label((*graph, ('split', part)))}" for graph in graphs]
        add("generate_context_binary", (("split", part),), *sources)
    add("export_bundle", (), *(f"generate_context_binary split{part}" for part in range(1, splits + 1)))
    return entries


@dataclass(frozen=True)
class Simulation:
    """A simulated run."""

    entries: list[ev.PlannedEntry]
    jobs: int = 2
    seed: int = 7
    scale: float = 1.0
    """Factor on all times, expected ones included, so that a fast run looks like a slow one."""
    progress_every: float = 2.0
    samples_every: float = 1.0
    """Seconds, not scaled."""
    cached: frozenset[str] = frozenset()
    failing: frozenset[str] = frozenset()
    """Items by name."""

    @property
    def planned(self) -> list[ev.PlannedEntry]:
        """The items as the run announces them."""
        return [
            entry.model_copy(
                update={name: getattr(entry, name) * self.scale for name in ("seconds", "seconds_low", "seconds_high")}
                | {"cached": entry.stage + " " + entry.label in self.cached}
            )
            for entry in self.entries
        ]

    def events(self, folder: RunFolder, recipe: Path, began: float = BEGAN) -> Iterator[ev.Event]:
        """The events in order, numbered."""
        for number, event in enumerate(_Course(self, folder, recipe, began).events(), 1):
            yield event.model_copy(update={"seq": number, "mono": event.time - began + 1000})

    def scaled_to(self, seconds: float) -> Simulation:
        """The same run, scaled to take about this long."""
        takes = _length(replace(self, scale=1.0, samples_every=1e9))
        return replace(self, scale=seconds / takes)


class _Course:
    """One run of a simulation; the next event is on top of the heap."""

    def __init__(self, simulation: Simulation, folder: RunFolder, recipe: Path, began: float) -> None:
        self.simulation = simulation
        self.folder = folder
        self.recipe = recipe
        self.now = self.began = began
        self.chance = random.Random(simulation.seed)
        self.entries = {f"{entry.stage} {entry.label}": entry for entry in simulation.planned}
        self.waiting = [name for name in self.entries if name not in simulation.cached]
        self.running: dict[str, int] = {}
        """Bytes of RAM that running items use."""
        self.made = set(simulation.cached)
        self.lost: dict[str, str] = {}
        self.left = dict.fromkeys(COSTS, 0)
        for entry in self.entries.values():
            self.left[entry.stage] += 1
        self.begun: set[str] = set()
        self._heap: list[tuple[float, int, Callable[[], Iterator[ev.Event]]]] = []
        self._order = count()

    def events(self) -> Iterator[ev.Event]:
        yield ev.RunStarted(
            time=self.now,
            run_id=self.folder.id,
            recipe=str(self.recipe),
            cache_dir=str(self.folder.path.parents[2]),
            pid=41231,
            host=socket.gethostname(),
            jobs=self.simulation.jobs,
            cores=CORES,
            memory=MEMORY,
            ram=MEMORY,
            items=list(self.entries.values()),
        )
        for name in self.simulation.cached:
            entry = self.entries[name]
            yield ev.CacheHit(time=self.now, stage=entry.stage, label=entry.label, key=entry.key)
        yield from self._start_what_can()
        self._later(0.0, self._sample)
        while self.running:
            self.now, _, happen = heapq.heappop(self._heap)
            yield from happen()
        yield ev.RunFinished(
            time=self.now,
            status="failed" if self.lost else "done",
            seconds=self.now - self.began,
            executed=len(self.made) - len(self.simulation.cached),
            cached=len(self.simulation.cached),
            failed=len(self.simulation.failing),
        )

    def _later(self, seconds: float, happen: Callable[[], Iterator[ev.Event]]) -> None:
        heapq.heappush(self._heap, (self.now + seconds, next(self._order), happen))

    def _start_what_can(self) -> Iterator[ev.Event]:
        for name in list(self.waiting):
            entry = self.entries[name]
            fault = next((source for source in entry.sources if source in self.lost), None)
            if fault is not None:
                self.waiting.remove(name)
                self.lost[name] = fault
                yield ev.ItemSkipped(
                    time=self.now, stage=entry.stage, label=entry.label, because=f"{fault} failed", kind="blocked"
                )
            elif len(self.running) < self.simulation.jobs and self.made.issuperset(entry.sources):
                self.waiting.remove(name)
                yield from self._start(name, entry)

    def _start(self, name: str, entry: ev.PlannedEntry) -> Iterator[ev.Event]:
        if entry.stage not in self.begun:
            self.begun.add(entry.stage)
            yield ev.StageStarted(time=self.now, stage=entry.stage)
        yield ev.ItemStarted(
            time=self.now,
            stage=entry.stage,
            label=entry.label,
            key=entry.key,
            reason=entry.reason,
            log=str(self.folder.logs / f"{entry.stage}.{entry.label}.log"),
            threads=CORES // self.simulation.jobs,
        )
        self.running[name] = int(entry.peak_ram * self.chance.uniform(0.8, 1.0))
        seconds = max(entry.seconds, 0.01) * self.chance.lognormvariate(0.0, 0.12)
        for step in range(1, int(seconds / self.simulation.progress_every) + 1):
            share = step * self.simulation.progress_every / seconds
            self._later(step * self.simulation.progress_every, lambda share=share: self._progress(name, share))  # type: ignore[misc]
        self._later(seconds, lambda: self._end(name, seconds))

    def _progress(self, name: str, share: float) -> Iterator[ev.Event]:
        entry = self.entries[name]
        said = f"{_SAID[entry.stage]} {int(share * 4211)} of 4211" if entry.stage in _SAID else ""
        if name in self.running:
            yield ev.ItemProgress(
                time=self.now, stage=entry.stage, label=entry.label, fraction=round(share, 4), message=said
            )

    def _end(self, name: str, seconds: float) -> Iterator[ev.Event]:
        entry = self.entries[name]
        ram = self.running.pop(name)
        place: dict[str, Any] = {"time": self.now, "stage": entry.stage, "label": entry.label}
        log = str(self.folder.logs / f"{entry.stage}.{entry.label}.log")
        if name in self.simulation.failing:
            self.lost[name] = name
            tail = ["[ERROR] op 252: no kernel for Gather int64", "[ERROR] finalize failed: 6020"]
            error = {
                "type": "ItemFailed",
                "what": "the compiler refused node_252 (Gather, int64)",
                "where": "graph ar128 cl512, part 3 of 4",
                "remedy": "give num_splits a larger value, or leave the node out",
                "log_tail": tail,
            }
            yield ev.ItemFailedEvent(**place, error=error, log=log)
        else:
            self.made.add(name)
            folder = str(self.folder.path.parents[1] / entry.stage / f"{entry.stage}_{entry.key[:8]}")
            yield ev.ItemFinished(
                **place, key=entry.key, seconds=seconds, peak_rss=ram, bytes=entry.bytes, directory=folder
            )
        self.left[entry.stage] -= 1
        if not self.left[entry.stage]:
            yield ev.StageFinished(time=self.now, stage=entry.stage)
        yield from self._start_what_can()

    def _sample(self) -> Iterator[ev.Event]:
        busy = len(self.running)
        yield ev.ResourceSample(
            time=self.now,
            ram=int(2e8 + sum(self.running.values()) * self.chance.uniform(0.7, 1.0)),
            cpu_percent=round(busy * 100 * self.chance.uniform(0.7, 1.0), 1),
        )
        self._later(self.simulation.samples_every, self._sample)


def _length(simulation: Simulation) -> float:
    nowhere = RunFolder(Path("/nowhere/pipeline_state/runs/0001"))
    return [event.time for event in simulation.events(nowhere, nowhere.path)][-1] - BEGAN


def simulation_of(kind: Kind) -> Simulation:
    """The simulation of a kind, before a failure or a kill."""
    if kind == "graphs":
        return Simulation(compile_plan((1, 128), 9, (512, 1024, 2048, 3072, 4096)), jobs=4)
    if kind == "long":
        return replace(Simulation(compile_plan()).scaled_to(6 * 3600), progress_every=12.0)
    failing = frozenset({"generate_context_binary split3"}) if kind == "failing" else frozenset()
    return Simulation(compile_plan(), failing=failing)


def write_run(cache_dir: Path, kind: Kind, *, run_id: str = "0001", recipe: Path | None = None) -> RunFolder:
    """The folder of a recorded run whose process has ended.

    good: 40 items. failing: a context binary fails, so there is no bundle. killed: the events stop while two
    items run. torn: the same, within a line. graphs: 2 ARs at 5 context lengths in 9 parts. long: six hours, 25,000
    events.
    """
    source = recipe or Path("/recipes/smollm2-135m.yaml")
    folder = RunFolder(cache_dir / STATE_FOLDER / "runs" / run_id)
    events = list(simulation_of(kind).events(folder, source))
    if kind in ("killed", "torn"):
        events = events[: len(events) // 2]
    tail = line(events.pop())[:-40] if kind == "torn" else ""
    return record(cache_dir / STATE_FOLDER, run_id, events, tail=tail, source=str(source))


def play(
    cache_dir: Path,
    simulation: Simulation,
    recipe: Path,
    *,
    run_id: str = "0001",
    log_lines: float = 4.0,
    until: Callable[[], bool] = lambda: False,
) -> RunFolder:
    """Play a run in real time, in this process; every running item writes `log_lines` per second."""
    folder = RunFolder(cache_dir / STATE_FOLDER / "runs" / run_id)
    folder.logs.mkdir(parents=True)
    logs: dict[str, int] = {}
    with folder.held(str(recipe), (), detached=True), folder.events.open("w", buffering=1) as file:
        began = time.time()
        for event in simulation.events(folder, recipe, began):
            while (left := event.time - time.time()) > 0 and not until():
                time.sleep(min(left, 0.1))
                _write_logs(logs, log_lines, time.time() - began)
            if until():
                break
            if isinstance(event, ev.ItemStarted):
                logs[event.log] = int((time.time() - began) * log_lines)
            elif isinstance(event, ev.ItemFinished | ev.ItemFailedEvent):
                logs.pop(str(folder.logs / f"{event.stage}.{event.label}.log"), None)
            file.write(line(event))
    return folder


def _write_logs(logs: dict[str, int], per_second: float, passed: float) -> None:
    due = int(passed * per_second)
    for path, written in logs.items():
        with open(path, "a") as file:
            for number in range(written, due):
                file.write(f"ctx-gen  [INFO ] graph part: finalizing op {number}/4211 · vtcm 7.8 MB\n")
        logs[path] = due


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Play a simulated run in real time.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--recipe", type=Path, default=Path("/recipes/smollm2-135m.yaml"))
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--contexts", type=int, default=1, help="how many context lengths")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--cached", default="", metavar="STAGE", help="the stages before this one are cached")
    parser.add_argument("--minutes", type=float, default=10.0, help="simulated duration")
    parser.add_argument("--speed", type=float, default=1.0, help="playback speed")
    parser.add_argument("--progress", type=float, default=2.0, help="simulated seconds between messages")
    parser.add_argument("--log-lines", type=float, default=4.0, help="per simulated second and running item")
    given = parser.parse_args()
    plan = compile_plan((1, 128), given.splits, [512 * number for number in range(1, given.contexts + 1)])
    stages = list(COSTS)
    before = stages[: stages.index(given.cached)] if given.cached else []
    paper = Simulation(
        plan,
        jobs=given.jobs,
        cached=frozenset(f"{entry.stage} {entry.label}" for entry in plan if entry.stage in before),
    ).scaled_to(60 * given.minutes / given.speed)
    paper = replace(paper, progress_every=given.progress / given.speed, samples_every=1.0 / given.speed)
    play(given.folder, paper, given.recipe.absolute(), log_lines=given.log_lines * given.speed)
