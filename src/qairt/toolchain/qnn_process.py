"""Starting `qnn_child` on a job, passing its log through, and telling what went wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import onnx_ir as ir

from qairt.engine.files import link_or_copy
from qairt.errors import ToolchainError
from qairt.graph.files import external_files, load
from qairt.graph.split import tensor_names
from qairt.toolchain.progress import Progress, silent, step_of

_REFUSED = re.compile(r"backendValidateOpConfig\(\) failed for node `([^`]+)` of type `([^`]+)`")
_ERROR = re.compile(r"\[E:onnxruntime|ERROR|\bQNN_\w*ERROR\w*")
_NOISE = re.compile("CreateHtpPowerConfigId")
"""On x86 every session says this; there is no power to configure."""
MOST_NAMED = 8


@contextmanager
def workplace(parent: Path) -> Iterator[Path]:
    """A folder for one job, gone afterwards."""
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=parent, prefix=".qnn-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def place_graph(onnx: Path, folder: Path, name: str, *, short_names: bool = False) -> str:
    """Link a graph and its weights into `folder/name`, as `name.onnx`; returns the path relative to `folder`.

    Args:
        short_names: call initializers i0, i1, …: the provider looks each input up among all of them by name, and a
            fifth of the compile time goes there when names are long. A binary does not hold them; a DLC does.
    """
    target = folder / name
    target.mkdir()
    if short_names:
        model = load(onnx)
        taken = tensor_names(model)
        free = filter(lambda short: short not in taken, (f"i{place}" for place in count()))
        for value in list(model.graph.initializers.values()):
            value.name = next(free)
        (target / f"{name}.onnx").write_bytes(ir.to_proto(model).SerializeToString(deterministic=True))
    else:
        link_or_copy(onnx, target / f"{name}.onnx")
    for weights in external_files(onnx):
        link_or_copy(onnx.parent / weights, target / weights)
    return f"{name}/{name}.onnx"


def run_job(folder: Path, job: dict[str, Any], *, where: str, progress: Progress = silent) -> dict[str, Any]:
    """Run `qnn_child` on `job` in `folder`. What it prints goes to this process's stderr as it comes.

    Returns:
        Its result: `seconds` by graph, `peak_rss` in bytes, `fixed_addresses`.

    Raises:
        ToolchainError: it failed or died; says which operations the NPU refuses, where that was the reason.
    """
    (folder / "job.json").write_text(json.dumps(job))
    lines: list[str] = []
    child = subprocess.Popen(
        [sys.executable, "-B", str(Path(__file__).with_name("qnn_child.py")), "job.json"],
        cwd=folder,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert child.stdout is not None
        for raw in child.stdout:
            os.write(2, raw)
            lines.append(raw.decode(errors="replace").rstrip())
            step = step_of(lines[-1])
            if step is not None:
                progress(*step)
        code = child.wait()
    except BaseException:
        child.kill()
        child.wait()
        raise
    result_path = folder / "result.json"
    result: dict[str, Any] = json.loads(result_path.read_bytes()) if result_path.is_file() else {}
    if code == 0 and "error" not in result and result:
        return result
    raise _failure(code, result, lines, where)


def _environment() -> dict[str, str]:
    """The same for every run: what stands in it moves the child's memory, and that shows in the binary."""
    kept = {key: os.environ[key] for key in ("PYTHONPATH", "SYSTEMROOT") if key in os.environ}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "HOME": "/",
    } | kept


def _failure(code: int, result: dict[str, Any], lines: list[str], where: str) -> ToolchainError:
    if code < 0:
        name = signal.Signals(-code).name
        return ToolchainError(
            f"the QNN compiler died of {name}",
            where=where,
            remedy="its last words are in the item's log; SIGKILL is mostly a lack of memory: use a smaller --jobs, or "
            "more splits",
        )
    refused = dict.fromkeys(
        f"{match[1]} ({match[2]})" for line in lines for match in [_REFUSED.search(line)] if match is not None
    )
    if refused:
        named = ", ".join(list(refused)[:MOST_NAMED])
        more = f" and {len(refused) - MOST_NAMED} more" if len(refused) > MOST_NAMED else ""
        return ToolchainError(
            f"the NPU does not run these operations as they are quantized: {named}{more}",
            where=where,
            remedy="nothing falls back to the CPU; change the bit widths of these tensors, or the graph",
        )
    message = str(result.get("error", "")).strip()
    if not message:
        told = [line for line in lines if _ERROR.search(line) and not _NOISE.search(line)]
        message = told[-1] if told else f"exit code {code} without a message"
    return ToolchainError(f"the QNN compiler failed: {message}", where=where, remedy="see the item's log")
