"""Starting `child` on a job, passing its log through, and telling what went wrong."""

from __future__ import annotations

import json
import os
import re
import sys
from itertools import count
from pathlib import Path
from typing import Any

import onnx_ir as ir

from qairt.errors import ToolchainError
from qairt.files import link_or_copy
from qairt.graph.files import external_files, load
from qairt.graph.split import tensor_names
from qairt.toolchain.progress import Progress, silent, step_of
from qairt.toolchain.vendor_process import Ended, failure, run

_REFUSED = re.compile(r"backendValidateOpConfig\(\) failed for node `([^`]+)` of type `([^`]+)`")
MOST_NAMED = 8


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
    """Run `child` on `job` in `folder`. What it prints goes to this process's stderr as it comes.

    Returns:
        Its result: `seconds` by graph, `peak_rss` in bytes, `fixed_addresses`.

    Raises:
        ToolchainError: it failed or died; says which operations the NPU refuses, where that was the reason.
    """
    (folder / "job.json").write_text(json.dumps(job))

    def heard(line: str) -> None:
        step = step_of(line)
        if step is not None:
            progress(*step)

    command = [sys.executable, "-B", str(Path(__file__).with_name("child.py")), "job.json"]
    ended = run(command, cwd=folder, env=_environment(), heard=heard)
    result_path = folder / "result.json"
    result: dict[str, Any] = json.loads(result_path.read_bytes()) if result_path.is_file() else {}
    if ended.code == 0 and "error" not in result and result:
        return result
    raise _failure(ended, result, where)


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


def _failure(ended: Ended, result: dict[str, Any], where: str) -> ToolchainError:
    refused = dict.fromkeys(
        f"{match[1]} ({match[2]})" for line in ended.lines for match in [_REFUSED.search(line)] if match is not None
    )
    if refused and ended.signal is None:
        named = ", ".join(list(refused)[:MOST_NAMED])
        more = f" and {len(refused) - MOST_NAMED} more" if len(refused) > MOST_NAMED else ""
        return ToolchainError(
            f"the NPU does not run these operations as they are quantized: {named}{more}",
            where=where,
            remedy="nothing falls back to the CPU; change the bit widths of these tensors, or the graph",
        )
    return failure("the QNN compiler", ended, where=where, message=str(result.get("error", "")).strip())
