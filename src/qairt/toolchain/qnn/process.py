"""Running `compile_child` on a job: its log is passed through, its failure explained."""

from __future__ import annotations

import json
import os
import re
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.child_process import python_command, python_path
from qairt.errors import ToolchainError
from qairt.files import link_or_copy, read_json
from qairt.graph.files import read
from qairt.toolchain.progress import Progress, silent, step_of
from qairt.toolchain.vendor_process import ProcessExit, failure, run

if TYPE_CHECKING:
    import onnx

    from qairt.toolchain.qnn.compile_child import CompileJob, CompileResult

_REJECTED = re.compile(r"backendValidateOpConfig\(\) failed for node `([^`]+)` of type `([^`]+)`")
MAX_LISTED = 8


def place_graph(onnx: Path, folder: Path, name: str, *, short_names: bool = False) -> str:
    """Link a graph and its weights into `folder/name`, as `name.onnx`; returns the path relative to `folder`.

    Args:
        short_names: call initializers i0, i1, …. The provider looks up each input among all of them by name, which
            takes a fifth of the compile time when names are long. A binary does not contain them; a DLC does.
    """
    from qairt.graph.external_data import external_locations

    target = folder / name
    target.mkdir()
    model = read(onnx)
    if short_names:
        _shorten(model.graph)
        (target / f"{name}.onnx").write_bytes(model.SerializeToString(deterministic=True))
    else:
        link_or_copy(onnx, target / f"{name}.onnx")
    for weights in external_locations(model):
        link_or_copy(onnx.parent / weights, target / weights)
    return f"{name}/{name}.onnx"


def _shorten(graph: onnx.GraphProto) -> None:
    """Rename the initializers; subgraphs do not read them."""
    taken = {name for node in graph.node for name in node.output} | {value.name for value in graph.input}
    taken |= {tensor.name for tensor in graph.initializer}
    free = filter(lambda short: short not in taken, (f"i{number}" for number in count()))
    short_names = {tensor.name: next(free) for tensor in graph.initializer}
    for tensor in graph.initializer:
        tensor.name = short_names[tensor.name]
    for value in graph.value_info:
        value.name = short_names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [short_names.get(name, name) for name in node.input]


def run_job(folder: Path, job: CompileJob, *, where: str, progress: Progress = silent) -> CompileResult:
    """Run `compile_child` on `job` in `folder`. Its output goes to this process's stderr as it arrives.

    Raises:
        ToolchainError: it failed or died; lists the operations that the NPU rejects, if that was the reason.
    """
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")

    def on_line(line: str) -> None:
        step = step_of(line)
        if step is not None:
            progress(*step)

    command = python_command("-B", str(Path(__file__).with_name("compile_child.py")), "job.json")
    ended = run(command, cwd=folder, env=_environment(), on_line=on_line)
    path = folder / "result.json"
    result: CompileResult | None = read_json(path) if path.is_file() else None
    if ended.code == 0 and result is not None and "error" not in result:
        return result
    raise _failure(ended, result.get("error", "") if result is not None else "", where)


def _environment() -> dict[str, str]:
    """The same for every run: its content shifts the child's memory, which shows in the binary."""
    kept = {"SYSTEMROOT": os.environ["SYSTEMROOT"]} if "SYSTEMROOT" in os.environ else {}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "HOME": "/",
    } | (python_path() | kept)


def _failure(ended: ProcessExit, message: str, where: str) -> ToolchainError:
    rejected = dict.fromkeys(
        f"{match[1]} ({match[2]})" for line in ended.lines for match in [_REJECTED.search(line)] if match is not None
    )
    if rejected and ended.signal is None:
        listed = ", ".join(list(rejected)[:MAX_LISTED])
        more = f" and {len(rejected) - MAX_LISTED} more" if len(rejected) > MAX_LISTED else ""
        return ToolchainError(
            f"the NPU does not support these operations as quantized: {listed}{more}",
            where=where,
            remedy="nothing falls back to the CPU; change the bit widths of these tensors, or the graph",
        )
    return failure("the QNN compiler", ended, where=where, message=message.strip())
