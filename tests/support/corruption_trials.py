"""Damage to a toy cache, one kind at a time: nothing damaged is used silently, and nothing damaged is fatal.

    PYTHONPATH=tests/support python tests/support/corruption_trials.py [HEALER …]

Each damage is followed by a healer (run, force, clear, verify: all four by default) and a run; the end must be what an
undamaged cache gives, byte by byte, and no entry may differ from its digests. Prints what went wrong, then the counts.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from fault_trials import contents, copy_tree, pipeline, run

from qairt.engine.cache.store import Store
from qairt.engine.run.options import RunOptions

SECONDS = 20  # for one trial: a FIFO that is opened would wait for ever


def _quietly(change: Callable[[Path], object]) -> Callable[[Path], None]:
    """The same change, with the times of before."""

    def changed(path: Path) -> None:
        status = path.stat()
        change(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    return changed


def _flip(path: Path) -> None:
    mode = path.stat().st_mode
    os.chmod(path, 0o644)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.chmod(path, mode)


def _swap(path: Path) -> None:
    """Another file of the same size under this name."""
    other = path.with_name("other")
    other.write_bytes(bytes(byte ^ 2 for byte in path.read_bytes()))
    os.replace(other, path)


def _write(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.unlink()
        path.write_bytes(data)

    return write


def _in_place(size: float) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        os.chmod(path, 0o644)
        os.truncate(path, int(path.stat().st_size * size))

    return cut


def _append(path: Path) -> None:
    os.chmod(path, 0o644)
    with path.open("ab") as file:
        file.write(b"\0")


def _replaced(by: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        by(path)

    return replace


BYTES: dict[str, Callable[[Path], None]] = {
    "a bit flipped": _flip,
    "a bit flipped, time restored": _quietly(_flip),
    "another file of the same size": _swap,
    "another file of the same size and time": _quietly(_swap),
    "half of it": _in_place(0.5),
    "emptied": _in_place(0.0),
    "a byte appended": _append,
}
KINDS: dict[str, Callable[[Path], None]] = {
    "deleted": _replaced(lambda path: None),
    "a folder": _replaced(lambda path: path.mkdir()),
    "a folder with a file": _replaced(lambda path: (path.mkdir(), (path / "x").write_text("x"))),
    "a dangling link": _replaced(lambda path: path.symlink_to("nowhere")),
    "a link to a file outside": _replaced(lambda path: path.symlink_to("/etc/passwd")),
    "a link to itself": _replaced(lambda path: path.symlink_to(path.name)),
    "a FIFO": _replaced(lambda path: os.mkfifo(path)),
}
TEXTS: dict[str, Callable[[Path], None]] = {
    "null": _write(b"null"),
    "a list": _write(b"[]"),
    "an empty mapping": _write(b"{}"),
    "nested 10,000 deep": _write(b"[" * 10_000 + b"]" * 10_000),
    "mappings nested 10,000 deep": _write(b'{"a":' * 10_000 + b"1" + b"}" * 10_000),
    "zero bytes": _write(b"\0" * 1000),
    "not UTF-8": _write(b"\xff\xfe{}"),
    "infinite numbers": _write(b'{"v": NaN, "files": {"text.txt": {"size": 1e999, "sha256": 7}}}'),
}
FOLDERS: dict[str, Callable[[Path], None]] = {
    "deleted": shutil.rmtree,
    "a file": _replaced(lambda path: path.write_text("x")),
    "a dangling link": _replaced(lambda path: path.symlink_to("nowhere")),
    "a link to itself": _replaced(lambda path: path.symlink_to(path.name)),
    "empty": _replaced(lambda path: path.mkdir()),
}


def _outside(cache: Path) -> None:
    """An output record that names a file of the system."""
    path = _entry(cache) / "output.json"
    path.write_text(json.dumps({"text": "/etc/passwd"}))


def _climbing(cache: Path) -> None:
    (_entry(cache) / "output.json").write_text(json.dumps({"text": "../../../../../../../../etc/passwd"}))


def _entry(cache: Path, stage: str = "fan") -> Path:
    return sorted((cache / "pipeline_state" / stage).glob(f"{stage}_*"))[0]


def _blob(cache: Path) -> Path:
    inode = (_entry(cache) / "text.txt").stat().st_ino
    return next(path for path in (cache / "pipeline_state" / "blobs").iterdir() if path.stat().st_ino == inode)


def damages() -> dict[str, Callable[[Path], object]]:
    """Every damage by its name, as a function of the cache directory."""
    found: dict[str, Callable[[Path], object]] = {}

    def add(name: str, place: Callable[[Path], Path], kinds: dict[str, Callable[[Path], None]]) -> None:
        for kind, damage in kinds.items():
            found[f"{name}: {kind}"] = lambda cache, place=place, damage=damage: damage(place(cache))

    add("a file of an entry", lambda cache: _entry(cache) / "text.txt", BYTES | KINDS)
    add("a blob", _blob, BYTES | KINDS)
    add("an output record", lambda cache: _entry(cache) / "output.json", BYTES | KINDS | TEXTS)
    add("an entry's record", lambda cache: _entry(cache) / "cache_entry.json", BYTES | KINDS | TEXTS)
    add("an entry", _entry, FOLDERS)
    state = lambda name: lambda cache: cache / "pipeline_state" / name  # noqa: E731
    for name in ("manifest.json", "metrics.json", "history.jsonl", "digests.jsonl"):
        add(name, state(name), {"half of it": _in_place(0.5), "emptied": _in_place(0.0)} | KINDS | TEXTS)
    for name in ("manifest.lock", "runs/0001/lock", "runs/0001/events.jsonl"):
        add(name, state(name), KINDS)
    for name in ("fan", "blobs", "locks", "runs", "runs/0001"):
        add(f"the folder {name}", state(name), FOLDERS)
    add("an item's lock", lambda cache: next((cache / "pipeline_state" / "locks").iterdir()), KINDS)
    found["an output record: names a file of the system"] = _outside
    found["an output record: climbs out"] = _climbing
    return found


def _run(cache: Path, **options: object) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        result = pipeline(cache).construct(RunOptions(jobs=1, memory=10**9, executor="inline", **options))
    assert result.status == "done", [str(error) for error in result.failed]


def _clear(cache: Path) -> None:
    store = Store(cache)
    store.clear(store.entries("fan"))


HEALERS: dict[str, Callable[[Path], object]] = {
    "run": lambda cache: None,
    "force": lambda cache: _run(cache, force=frozenset({"fan"})),
    "clear": _clear,
    "verify": lambda cache: Store(cache).verify(),
}


def trial(base: Path, reference: dict[str, str], damage: Callable[[Path], object], healer: str) -> str:
    """What went wrong, in a process of its own; empty when nothing did."""
    cache = Path(tempfile.mkdtemp(prefix="damaged-"))
    said = cache.with_suffix(".said")
    shutil.rmtree(cache)
    copy_tree(base, cache)
    child = os.fork()
    if not child:
        signal.alarm(SECONDS)
        handle = os.open(said, os.O_CREAT | os.O_WRONLY)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        code = 0
        try:
            _run(cache)  # remembers the digests of these files, so that only changed ones are read
            damage(cache)
            HEALERS[healer](cache)
            _run(cache)
            assert contents(cache) == reference, "the end is not the same"
        except BaseException as error:
            code = 1
            traceback.print_exc()
            print(f"{type(error).__name__}: {error}".splitlines()[0])
        sys.stdout.flush()
        os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    problem = ""
    if status:
        lines = said.read_text().splitlines()
        problem = f"it hung for {SECONDS} s" if status == -signal.SIGALRM else lines[-1] if lines else f"ended {status}"
    said.unlink(missing_ok=True)
    shutil.rmtree(cache, ignore_errors=True)
    return problem


def trials(healers: list[str], step: int = 1) -> tuple[int, list[str]]:
    """Every `step`-th damage with every healer: how many trials there were, and what went wrong."""
    problems, done = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        run(base)
        reference = contents(base)
        every = [(name, damage, healer) for name, damage in damages().items() for healer in healers]
        for name, damage, healer in every[::step]:
            done += 1
            if problem := trial(base, reference, damage, healer):
                problems.append(f"{name}, then {healer}: {problem}")
    return done, problems


def main() -> int:
    done, problems = trials(sys.argv[1:] or list(HEALERS))
    for problem in problems:
        print(problem)
    print(f"{len(damages())} kinds of damage, {done} trials, {len(problems)} used silently or fatal")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
