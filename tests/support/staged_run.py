"""Events of runs of the staged plan: one while compiling, one failed, one with every state, one with 90 graphs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from recorded_runs import line
from staged_plan import NOW, STATE

from qairt.engine.record import events as ev
from qairt.engine.record.folder import Host, RunFolder
from qairt.engine.record.summary import read_state, write_summary

PID = 41231
HOST = "box7"
BEGAN = NOW - 243
RECIPE = "/home/ada/recipes/smollm2-135m.yaml"
GIGABYTE = 10**9

LOG = """\
14:27:27   0%  compiling 2 graphs
qairt: graph 1 of 2
14:27:31   0%  compiling graph 1 of 2
\x1b[0;93m2025-11-21 14:27:31.436877716 [W:onnxruntime:, qnn_execution_provider.cc:933 QnnEp] File mapped \
weights feature is only available on Windows arm64 devices for QNN API versions >= 2.32. Feature will be disabled\x1b[m
====== DDR bandwidth summary ======
spill_bytes=0
fill_bytes=0
write_total_bytes=65536
read_total_bytes=31784960
Error: 1 of 3 fallbacks to 32-bit is slow: Softmax
qairt: graph 2 of 2
14:28:59  50%  compiling graph 2 of 2
"""


def opening(items: Sequence[ev.PlannedEntry], *, at: float = BEGAN, run_id: str = "0142") -> ev.Event:
    return ev.RunStarted(
        time=at,
        run_id=run_id,
        recipe=RECIPE,
        cache_dir="/home/ada/qairt-cache/smollm2-135m",
        pid=PID,
        host=HOST,
        jobs=2,
        cores=8,
        memory=6 * GIGABYTE,
        ram=16 * GIGABYTE,
        items=list(items),
    )


def reused(items: Sequence[ev.PlannedEntry], at: float = BEGAN) -> list[ev.Event]:
    return [ev.CacheHit(time=at, stage=e.stage, label=e.label, key=e.key) for e in items if e.cached]


def started(entry: ev.PlannedEntry, at: float, run_id: str = "0142") -> list[ev.Event]:
    log = str(STATE / "runs" / run_id / "logs" / f"{entry.stage}.{entry.label}.log")
    return [
        ev.ItemStarted(
            time=at, stage=entry.stage, label=entry.label, key=entry.key, reason=entry.reason, log=log, threads=2
        )
    ]


def made(
    entry: ev.PlannedEntry, at: float, seconds: float, *, run_id: str = "0142", warnings: Any = ()
) -> list[ev.Event]:
    end = ev.ItemFinished(
        time=at + seconds,
        stage=entry.stage,
        label=entry.label,
        key=entry.key,
        seconds=seconds,
        peak_rss=int(entry.peak_ram * 0.94),
        bytes=entry.bytes,
        directory=str(STATE / entry.stage / f"{entry.stage}_{entry.key[:8]}"),
        warnings=warnings,
    )
    return [*started(entry, at, run_id), end]


def samples(seconds: int, *, at: float = BEGAN, gpu: bool = False) -> list[ev.Event]:
    """One per second: memory in steps as items start and end, CPU load as a 20 s sawtooth."""
    found: list[ev.Event] = []
    for second in range(seconds + 1):
        step = (38, 52, 61, 47, 73, 78, 81)[min(second * 7 // max(seconds, 1), 6)]
        wave = abs(second % 24 - 12)
        ram = (step * 10 + 3 * wave + second % 3) * 5 * 10**6
        cpu = 310.0 + 17 * (second % 20) - (190 if second % 40 < 3 else 0)
        graphics = {"gpu_memory": 3_100 * 10**6, "gpu_memory_total": 24 * GIGABYTE, "gpu_percent": 20.0 + 4 * wave}
        machine = {"machine_ram": ram + 5 * GIGABYTE, "machine_cpu_percent": cpu + 90.0 + 6 * wave}
        fields = machine | (graphics if gpu else {})
        found.append(ev.ResourceSample(time=at + second, ram=ram, cpu_percent=cpu, **fields))
    return found


def compiling(items: Sequence[ev.PlannedEntry], *, gpu: bool = False) -> list[ev.Event]:
    """After four minutes: everything is quantized, two of four context binaries are running."""
    by_name = {f"{entry.stage} {entry.label}": entry for entry in items}
    events = [opening(items), *reused(items), ev.StageStarted(time=BEGAN, stage="quantize")]
    for number, entry in enumerate(entry for entry in items if entry.stage == "quantize"):
        events += made(entry, BEGAN + number // 2 * 22, 21.4 + number / 4)
    first, second, third, _ = (by_name[f"generate_context_binary split{split}"] for split in range(1, 5))
    events += [ev.StageStarted(time=BEGAN + 89, stage="generate_context_binary"), *made(first, BEGAN + 89, 58.0)]
    events += [*started(second, BEGAN + 89), *started(third, BEGAN + 148)]
    progress = ev.ItemProgress(
        time=NOW - 1, stage=second.stage, label=second.label, fraction=0.5, message="compiling graph 2 of 2"
    )
    return _in_order([*events, *samples(243, gpu=gpu), progress])


def failing(items: Sequence[ev.PlannedEntry]) -> list[ev.Event]:
    """One context binary ran out of memory; the bundle is blocked."""
    error = {
        "type": "ItemFailed",
        "what": "it was killed by the system: out of memory",
        "where": "generate_context_binary split3",
        "remedy": "run fewer items at once (--jobs 1), or close what else uses memory; r tries again",
        "log_tail": ["qairt: graph 2 of 2", "14:29:00  50%  compiling graph 2 of 2", "Killed"],
    }
    binaries = [entry for entry in items if entry.stage == "generate_context_binary"]
    events = [event for event in compiling(items) if not isinstance(event, ev.ItemProgress)]
    events += [
        ev.ItemFailedEvent(
            time=NOW - 60,
            stage=binaries[2].stage,
            label=binaries[2].label,
            error=error,
            log=str(STATE / "runs/0142/logs/generate_context_binary.split3.log"),
        ),
        *made(binaries[3], NOW - 59, 40.0),
        made(binaries[1], BEGAN + 89, 130.0)[1],
        ev.ItemSkipped(
            time=NOW - 60, stage="export_bundle", label="all", because="generate_context_binary split3 failed"
        ),
        ev.RunFinished(time=NOW - 12, status="failed", seconds=231.0, executed=11, cached=27, failed=1),
    ]
    return _in_order(events)


def every_state(items: Sequence[ev.PlannedEntry]) -> list[ev.Event]:
    """Each state that an item can be in, at once."""
    ready, *some = [entry for entry in items if entry.stage == "quantize"]
    events = [opening(items), *reused(items), *samples(120)]
    events += made(some[0], BEGAN, 20.0)
    events += made(some[1], BEGAN, 21.0, warnings=("SQNR 18.2 dB is below 20 dB",))
    events += [*started(some[2], BEGAN + 60), *started(some[3], BEGAN + 30), *started(some[4], BEGAN + 20)]
    events += [
        ev.ItemProgress(time=BEGAN + 100, stage="quantize", label=some[2].label, fraction=0.62),
        ev.ItemQuiet(time=BEGAN + 110, stage="quantize", label=some[3].label, seconds=75),
        ev.ItemFailedEvent(
            time=BEGAN + 40, stage="quantize", label=some[4].label, error={"what": "no space left on the disk"}, log=""
        ),
        ev.ItemShared(time=BEGAN + 50, stage="quantize", label=some[5].label),
    ]
    binaries = [entry.label for entry in items if entry.stage == "generate_context_binary"]
    for name, kind in zip(binaries, ("blocked", "cancelled", "interrupted"), strict=False):
        because = f"quantize {some[4].label} failed" if kind == "blocked" else "you asked for it"
        events.append(
            ev.ItemSkipped(
                time=BEGAN + 70,
                stage="generate_context_binary",
                label=name,
                because=because,
                kind=kind,  # type: ignore[arg-type]
            )
        )
    return _in_order(events)


def ended(items: Sequence[ev.PlannedEntry], *, run_id: str, at: float, slower: float = 1.0) -> list[ev.Event]:
    """A successful run."""
    events = [opening(items, at=at, run_id=run_id), *reused(items, at), *samples(200, at=at)]
    now = at
    for entry in items:
        if not entry.cached:
            events += made(entry, now, entry.seconds * slower, run_id=run_id)
            now += entry.seconds * slower / 2
    events.append(ev.RunFinished(time=now, status="done", seconds=now - at, executed=0, cached=0, failed=0))
    return _in_order(events)


def finished(items: Sequence[ev.PlannedEntry]) -> list[ev.Event]:
    """The staged run at its end, with one warning."""
    events = ended(items, run_id="0142", at=BEGAN)
    warned = next(event for event in events if isinstance(event, ev.ItemFinished))
    place = events.index(warned)
    events[place] = warned.model_copy(update={"warnings": ("2 of 31 nodes fall back to 32 bit: slow on the NPU",)})
    return events


def ninety(at: float = BEGAN) -> list[ev.Event]:
    """3 context lengths, 2 ARs and 15 splits: 90 graphs; 37 are converted."""
    items = [
        ev.PlannedEntry(
            stage="convert",
            label=f"cl{cl}-ar{ar}-split{split}",
            coord=(("cl", cl), ("ar", ar), ("split", split)),
            key=f"{cl}{ar}{split}",
            cached=False,
            reason="not built yet",
            seconds=30.0,
            seconds_low=25.0,
            seconds_high=40.0,
            samples=2,
            peak_ram=GIGABYTE,
            bytes=10**8,
            from_history=True,
        )
        for cl in (1024, 2048, 4096)
        for ar in (1, 128)
        for split in range(1, 16)
    ]
    events = [opening(items, at=at), *samples(243, at=at)]
    for number, entry in enumerate(items[:37]):
        events += made(entry, at + number * 6, 11.0)
    events += [*started(items[37], NOW - 17), *started(items[38], NOW - 9)]
    return _in_order(events)


def record(
    run_id: str, events: Iterable[ev.Event], recipe: str, *, metrics: dict[str, float] | None = None
) -> RunFolder:
    """The folder of such a run."""
    folder = RunFolder(STATE / "runs" / run_id)
    folder.logs.mkdir(parents=True)
    events = list(events)
    folder.events.write_text("".join(map(line, events)))
    host = Host(PID, 0.0, HOST, "boot", "0.1.0", events[0].time, RECIPE, (), detached=False)
    (folder.path / "host.json").write_text(json.dumps(asdict(host)))
    (folder.path / "lock").touch()
    (folder.path / "recipe.yaml").write_text(recipe)
    for split in (2, 3):
        (folder.logs / f"generate_context_binary.split{split}.log").write_text(log_text())
    if metrics:
        (STATE / "metrics.json").write_text(json.dumps({"quantize": metrics}))
        write_summary(folder, read_state(folder))
    return folder


def log_text() -> str:
    """An item's log so far."""
    return LOG + "".join(
        f"{'Starting' if n % 2 else 'Finished'} step {n // 2 + 1} of optimization level 3\n" for n in range(1, 70)
    )


def _in_order(events: Iterable[ev.Event]) -> list[ev.Event]:
    ordered = sorted(events, key=lambda event: event.time)
    return [event.model_copy(update={"seq": number}) for number, event in enumerate(ordered, 1)]
