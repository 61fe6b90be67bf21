"""Runs that are killed, stopped, or share a cache with each other and with those who clean it up.

    PYTHONPATH=tests/support python tests/support/storm_trials.py kills 200

kills: kill the run, a worker or the group at a random moment; stop and continue. together: eight runs of one recipe at
once. prefix: eight recipes that share their first stages. beside: prune, force, verify, clear beside a run.

Items run in processes of their own, as for users. Prints what went wrong, then the counts.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psutil
import toy_stages as toy
from fault_trials import contents
from wait import pass_time, until

from qairt.engine.cache.clearing import clear
from qairt.engine.cache.store import Store
from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.errors import CacheError

RUNS = 8
SLEEP = 0.3  # seconds that an item of the fan takes
GONE_S = 1.0  # after a kill, no process of the run is left


def pipeline(cache: Path, suffix: str = "", sleep: float = SLEEP) -> Pipeline:
    """Five items; `sleep` is not part of the comparison, `suffix` is."""
    stages = [
        toy.Source(toy.SourceConfig(text="hello " * 2000)),
        toy.Fan(toy.FanConfig(arn=[1, 2, 3], sleep=sleep)),
        toy.Upper(toy.LaterConfig()),
        toy.PublishedJoin(toy.JoinConfig(suffix=suffix)),
    ]
    return Pipeline(stages, cache)


def main_of_a_run(cache: str, suffix: str, force: str) -> int:
    """In a process of its own: one run; its exit code is 0 when it is done."""
    options = RunOptions(jobs=2, memory=10**9, force=frozenset(filter(None, [force])))
    result = pipeline(Path(cache), suffix).construct(options)
    for failure in result.failed:
        print(failure, file=sys.stderr)
    return 0 if result.status == "done" else 1


def start(cache: Path, suffix: str = "", force: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, __file__, "run", str(cache), suffix, force]
    return subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@contextlib.contextmanager
def a_cache() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "cache"


def reference(suffixes: list[str]) -> dict[str, str]:
    """What undisturbed runs of these recipes leave."""
    with a_cache() as cache:
        for suffix in suffixes:
            assert start(cache, suffix).wait() == 0
        return contents(cache)


def compare(cache: Path, expected: dict[str, str]) -> str:
    """What is wrong with the entries, the published folder, or what was left behind."""
    try:
        found = contents(cache)
    except AssertionError as error:
        return str(error)
    if found != expected:
        return f"entries differ: {sorted(found.keys() ^ expected.keys())}"
    results = [entry.directory / "joined.txt" for entry in Store(cache).entries("published_join")]
    published = [path for path in (cache / "published_join").rglob("*") if path.is_file()]
    if len(published) != 1 or not any(path.read_bytes() == published[0].read_bytes() for path in results):
        return f"published: {published}"
    return ""


def left_behind(cache: Path) -> str:
    left = [*cache.rglob(".making-*"), *cache.rglob(".writing-*"), *cache.glob("*.kept*")]
    return f"left behind: {left}" if left else ""


def working(cache: Path) -> bool:
    """An item of the fan is being worked on."""
    return any(cache.glob("pipeline_state/fan/.making-*"))


def kills(count: int) -> tuple[int, list[str]]:
    """Kill something at a random moment, again and again; the last run ends with the bytes of an undisturbed one."""
    chance, problems, trials = random.Random(7), [], 0
    expected = reference([""])
    while trials < count:
        with a_cache() as cache:
            for _ in range(min(10, count)):
                trials += 1
                run = start(cache)
                moment = chance.uniform(0.0, 2.5)
                pass_time(moment)
                victim = chance.choice(["run", "worker", "group", "stop"])
                problems += [f"{victim} after {moment:.2f} s: {problem}" for problem in _hit(run, victim)]
                if (cache / "pipeline_state").is_dir() and (damage := compare_finished(cache, expected)):
                    problems.append(f"{victim} after {moment:.2f} s: {damage}")
            run = start(cache)
            if run.wait() != 0:
                problems.append(f"the last run failed: {run.stderr.read() if run.stderr else ''}")
            Store(cache).prune()
            if problem := compare(cache, expected) or left_behind(cache):
                problems.append(problem)
    return trials, problems


def compare_finished(cache: Path, expected: dict[str, str]) -> str:
    """What is finished so far is right."""
    try:
        found = contents(cache)
    except AssertionError as error:
        return str(error)
    wrong = [name for name, files in found.items() if expected.get(name) != files]
    return f"wrong: {wrong}" if wrong else ""


def _hit(run: subprocess.Popen[str], victim: str) -> list[str]:
    """Kill it, and say what is left running."""
    try:
        family = [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]
    except psutil.Error:
        family = []
    with contextlib.suppress(ProcessLookupError, psutil.Error):
        match victim:
            case "run":
                run.kill()
            case "group":
                os.killpg(run.pid, signal.SIGKILL)
            case "worker":
                for process in family[1:]:
                    process.kill()
                run.wait(60)
                return []  # the item failed, or was tried again: the next run builds it
            case "stop":
                os.kill(run.pid, signal.SIGSTOP)
                os.kill(run.pid, signal.SIGCONT)
                run.wait(60)
                return [] if run.returncode == 0 else [f"a run that was stopped and continued ended {run.returncode}"]
    run.wait(60)
    end = time.monotonic() + GONE_S
    while time.monotonic() < end and any(_alive(process) for process in family):
        psutil.wait_procs(family, timeout=0.02)
    left = [process for process in family if _alive(process)]
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return [f"{len(left)} processes were left after {GONE_S} s"] if left else []


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def together(count: int, runs: int = RUNS) -> tuple[int, list[str]]:
    """Runs of one recipe at once: all are done, and each item was built once."""
    return _many(count, [""] * runs)


def prefix(count: int, runs: int = RUNS) -> tuple[int, list[str]]:
    """Recipes at once that differ in their last stage."""
    return _many(count, [f"-{number}" for number in range(runs)])


def _many(count: int, suffixes: list[str]) -> tuple[int, list[str]]:
    problems = []
    expected = reference(list(dict.fromkeys(suffixes)))
    for _ in range(count):
        with a_cache() as cache:
            runs = [start(cache, suffix) for suffix in suffixes]
            for run in runs:
                said = run.communicate()[1]
                if run.returncode:
                    problems.append(f"a run ended {run.returncode}: {said.strip().splitlines()[-1:]}")
            if problem := compare(cache, expected):
                problems.append(problem)
            if problem := left_behind(cache):
                problems.append(problem)
    return count * len(suffixes), problems


def clear_all(cache: Path) -> None:
    store = Store(cache)
    with contextlib.suppress(CacheError):  # the run needs it
        clear(store, store.entries())


BESIDE: dict[str, Callable[[Path], object]] = {
    "prune": lambda cache: Store(cache).prune(),
    "verify": lambda cache: Store(cache).verify(),
    "clear": clear_all,
    "force": lambda cache: start(cache, force="source").communicate(),
}


def beside(count: int, names: Iterable[str] = BESIDE) -> tuple[int, list[str]]:
    """Clean up while an item is being worked on: the run is done all the same."""
    problems, trials = [], 0
    expected = reference([""])
    for name in names:
        act = BESIDE[name]
        for _ in range(count):
            trials += 1
            with a_cache() as cache:
                run = start(cache)
                until(lambda cache=cache, run=run: working(cache) or run.poll() is not None)
                act(cache)
                said = run.communicate()[1]
                if run.returncode:
                    problems.append(f"{name}: the run ended {run.returncode}: {said.strip().splitlines()[-1:]}")
                last = start(cache)
                if last.wait() or (problem := compare(cache, expected)):
                    problems.append(f"{name}: afterwards {problem or 'a run failed'}")
    return trials, problems


STORMS = {"kills": kills, "together": together, "prefix": prefix, "beside": beside}


def main() -> int:
    if sys.argv[1] == "run":
        return main_of_a_run(*sys.argv[2:])
    done, problems = STORMS[sys.argv[1]](int(sys.argv[2]))
    for problem in problems:
        print(problem)
    print(f"{sys.argv[1]}: {done} trials, {len(problems)} lost or wrong")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
