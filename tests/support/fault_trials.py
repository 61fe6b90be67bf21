"""Fault injection: one operation on a toy cache, ended or failed at its k-th change to the disk, for every k.

    PYTHONPATH=tests/support python tests/support/fault_trials.py run exit           every k
    PYTHONPATH=tests/support python tests/support/fault_trials.py clear ENOSPC 7     every 7th

Operations: run, change (run again after a setting changed), force (make all again), clear, undo, prune, export (of a
bundle to a folder of the user). Faults: exit (as `kill -9`), ENOSPC and
EROFS (from then on nothing can be written), EIO (once). A run without a fault follows. Each trial that lost or
falsified something prints a line, then the counts follow; exit code 1 when there were any.

Changes are what Python's audit events report (opening for writing, rename, link, mkdir, remove, rmdir, chmod),
exchanges of folders and calls of `os.fsync` and `os.write`, below the cache directory.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import toy_stages as toy

from qairt import folders
from qairt.bundle.checksums import write_checksums
from qairt.engine.cache.store import Store
from qairt.engine.pipeline import Pipeline
from qairt.engine.run.options import RunOptions
from qairt.errors import QairtError
from qairt.files import files_below, sha256_of
from qairt.folders import same_content
from qairt.results.bundle import copy_bundle

FAULTS = ("exit", "ENOSPC", "EROFS", "EIO")
LASTING = ("ENOSPC", "EROFS")
_REMOVING = ("os.remove", "os.rmdir")
_CHANGES = {"os.rename", "os.link", "os.mkdir", "os.symlink", "os.truncate", "os.chmod", *_REMOVING}
_ENDED = 86  # the exit code of a trial that a fault ended
_WRONG = 87


class Injector:
    """Counts changes below `root`; the one numbered `at` fails."""

    def __init__(self, root: Path, fault: str, at: int) -> None:
        self.root, self.fault, self.at = str(root), fault, at
        self.count = 0
        self.on = False
        self._fsync, self._write = os.fsync, os.write
        sys.addaudithook(self._heard)
        self._exchange = folders.exchange
        folders.exchange = self._exchange_checked
        os.fsync = self._fsync_checked
        os.write = self._write_checked

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            path, _, flags = arguments
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in _CHANGES:
            path = arguments[0]
        else:
            return
        if isinstance(path, (str, os.PathLike)) and os.path.isabs(path) and not os.fspath(path).startswith(self.root):
            return
        self._change(event)

    def _exchange_checked(self, one: Path, other: Path) -> bool:
        self._change("os.rename")
        return self._exchange(one, other)

    def _fsync_checked(self, handle: int) -> None:
        self._change("os.fsync")
        self._fsync(handle)

    def _write_checked(self, handle: int, data: bytes) -> int:
        if handle > 2:
            self._change("os.write")
        return self._write(handle, data)

    def _change(self, event: str) -> None:
        if not self.on:
            return
        self.count += 1
        lasts = self.fault in LASTING and self.count > self.at and (event not in _REMOVING or self.fault == "EROFS")
        if self.count != self.at and not lasts:
            return
        if self.fault == "exit":
            os._exit(_ENDED)
        if event in _REMOVING and self.fault == "ENOSPC":
            return
        code = getattr(errno, self.fault)
        raise OSError(code, os.strerror(code))


def pipeline(cache: Path, suffix: str = "") -> Pipeline:
    stages = [
        toy.Source(toy.SourceConfig(text="hello " * 2000)),
        toy.Fan(toy.FanConfig(suffix=suffix)),
        toy.Upper(toy.LaterConfig()),
        toy.PublishedJoin(toy.JoinConfig()),
    ]
    return Pipeline(stages, cache)


def run(cache: Path, suffix: str = "", force: frozenset[str] = frozenset()) -> list[str]:
    """Run all; returns what was executed."""
    options = RunOptions(jobs=1, memory=10**9, executor="inline", force=force)
    with contextlib.redirect_stdout(io.StringIO()):
        result = pipeline(cache, suffix).construct(options)
    if result.status != "done":
        raise QairtError(f"the run ended {result.status}: {[str(error) for error in result.failed]}")
    return result.executed


def fan_and_after(store: Store) -> list[object]:
    return list(store.with_dependents(store.entries("fan")))


def clear(cache: Path) -> None:
    store = Store(cache)
    store.clear(fan_and_after(store))


def undo(cache: Path) -> None:
    Store(cache).undo()


def prune(cache: Path) -> None:
    Store(cache).prune()


def force(cache: Path) -> None:
    run(cache, force=frozenset({"source", "fan", "upper", "published_join"}))


def export(cache: Path) -> None:
    bundle = cache / "bundle"
    copy_bundle(bundle, cache / "exported", {path: sha256_of(path) for path in files_below(bundle)})


def nothing(cache: Path) -> None:
    """There is no cache yet."""


def full(cache: Path) -> None:
    run(cache)


def cleared(cache: Path) -> None:
    run(cache)
    clear(cache)


def with_bundle(cache: Path) -> None:
    run(cache)
    (cache / "bundle/nested").mkdir(parents=True)
    for name in ("large.bin", "nested/small.json"):
        (cache / "bundle" / name).write_text(name * 1000)
    write_checksums(cache / "bundle")


OPERATIONS: dict[str, tuple[Callable[[Path], None], Callable[[Path], object], str]] = {
    # what is there before; the operation; the suffix of the settings that must run cleanly afterwards
    "run": (nothing, run, ""),
    "change": (full, lambda cache: run(cache, "!"), "!"),
    "force": (full, force, ""),
    "clear": (full, clear, ""),
    "undo": (cleared, undo, ""),
    "prune": (cleared, prune, ""),
    "export": (with_bundle, export, ""),
}


def contents(cache: Path) -> dict[str, str]:
    """Every valid entry: `stage label key` and the digests of its files, compared with its bytes."""
    found = {}
    for entry in Store(cache).entries():
        if (problem := entry.altered()) is not None:
            raise AssertionError(f"{entry.stage} {entry.label}: {problem}")
        found[f"{entry.stage} {entry.label} {entry.key}"] = json.dumps(entry.files, sort_keys=True)
    return found


def check(cache: Path, suffix: str, reference: dict[str, str], before: dict[str, str]) -> None:
    """After a fault: nothing that was finished is lost, and a run without faults ends with the reference."""
    there = contents(cache)
    wrong = {name for name, files in there.items() if name in reference and reference[name] != files}
    assert not wrong, f"wrong content: {wrong}"
    lost = before.keys() - there.keys()
    assert not lost, f"lost: {lost}"
    executed = run(cache, suffix)
    again = {name for name in there if " ".join(name.split()[:2]) in executed and name in reference}
    assert not again, f"executed again though it was finished: {again}"
    after = contents(cache)
    assert {name: after.get(name) for name in reference} == reference, "the end is not the same"
    exported = cache / "exported"
    if (cache / "bundle").is_dir():
        assert not exported.exists() or same_content(exported, cache / "bundle"), "a part was exported"
        if not exported.exists():
            export(cache)
        assert same_content(exported, cache / "bundle"), "it is not exported whole"
    recorded = pipeline(cache, suffix).manifest.read()["stages"]["published_join"]
    result = Path(str(recorded["artifact_path"])) / "joined.txt"
    published = [path.read_bytes() for path in (cache / "published_join").rglob("*") if path.is_file()]
    assert published == [result.read_bytes()], "the published folder is not that of the last run"
    prune(cache)
    left = [*cache.rglob(".making-*"), *cache.rglob(".writing-*"), *cache.rglob(".resume-*"), *cache.glob("*.kept*")]
    assert not left, f"left behind: {left}"


def trial(base: Path, operation: str, fault: str, at: int, reference: dict[str, str]) -> tuple[str, int]:
    """One trial in a process of its own: what is wrong, empty when nothing is; and how many changes it counted."""
    act, suffix = OPERATIONS[operation][1:]
    cache = Path(tempfile.mkdtemp(prefix="trial-"))
    shutil.rmtree(cache)
    if base.exists():
        copy_tree(base, cache)
    said, count = cache.with_suffix(".said"), cache.with_suffix(".count")
    before = contents(cache) if operation not in ("clear", "undo", "prune") and base.exists() else {}
    child = os.fork()
    if not child:
        code = 0
        handle = os.open(said, os.O_CREAT | os.O_WRONLY)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        injector = Injector(cache, fault, at)
        injector.on = True
        try:
            act(cache)
        except QairtError as error:
            code = 1
            print(error)
        except BaseException:
            code = _WRONG
            traceback.print_exc()
        finally:
            injector.on = False
            count.write_text(str(injector.count))
            sys.stdout.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    problem = ""
    try:
        if code == _WRONG:
            problem = f"it ended with a traceback: {said.read_text().splitlines()[-1:]}"
        else:
            check(cache, suffix, reference, before)
    except (AssertionError, QairtError, OSError) as error:
        problem = f"{type(error).__name__}: {error}"
    made = int(count.read_text()) if count.exists() else at
    for path in (said, count):
        path.unlink(missing_ok=True)
    shutil.rmtree(cache, ignore_errors=True)
    return problem, made


def copy_tree(base: Path, cache: Path) -> None:
    """A copy in which what was one file is one file."""
    known: dict[int, str] = {}

    def copy(source: str, target: str) -> str:
        inode = os.stat(source).st_ino
        if inode in known:
            os.link(known[inode], target)
        else:
            shutil.copy2(source, target)
            known[inode] = target
        return target

    shutil.copytree(base, cache, symlinks=True, copy_function=copy)


def trials(operation: str, fault: str, step: int = 1, samples: int | None = None) -> tuple[int, list[str]]:
    """Every `step`-th change of an operation: how many trials there were, and what was wrong.

    Args:
        samples: instead of a step, about how many trials.
    """
    prepare, _, suffix = OPERATIONS[operation]
    with tempfile.TemporaryDirectory() as scratch:
        base, whole = Path(scratch) / "base", Path(scratch) / "whole"
        prepare(base)
        run(whole, suffix)
        reference = contents(whole)
        _, changes = trial(base, operation, "EIO", 10**9, reference)
        problems, done = [], 0
        step = step if samples is None else max(changes // samples, 1)
        for at in range(1 + step // 2 if samples else 1, changes + 1, step):
            problem, _ = trial(base, operation, fault, at, reference)
            done += 1
            if problem:
                problems.append(f"{operation} {fault} at {at} of {changes}: {problem}")
    return done, problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("operation", choices=OPERATIONS)
    parser.add_argument("fault", choices=FAULTS)
    parser.add_argument("step", type=int, nargs="?", default=1)
    options = parser.parse_args()
    done, problems = trials(options.operation, options.fault, options.step)
    for problem in problems:
        print(problem)
    print(f"{options.operation} {options.fault}: {done} trials, {len(problems)} lost or wrong")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
