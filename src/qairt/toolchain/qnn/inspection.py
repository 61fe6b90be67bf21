"""Reading DLCs and context binaries, whichever toolchain made them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.child_process import ending_with_parent, python_command, python_environment
from qairt.errors import ToolchainError
from qairt.files import parse_json
from qairt.graph.tensors import TensorSpec
from qairt.toolchain.base import GraphContents, Inspection
from qairt.toolchain.qnn import dlc, wheel

if TYPE_CHECKING:
    from qairt.toolchain.qnn.inspect_child import BinaryContents, GraphDescription


def inspect(path: Path) -> Inspection:
    """The contents of a DLC or a context binary.

    Raises:
        ToolchainError: it is missing, damaged or of another kind.
        ToolchainNotAvailable: the wheel, whose library reads context binaries, is not installed.
    """
    if not path.is_file():
        raise ToolchainError("the file does not exist", where=str(path), remedy="run again to rebuild it")
    if path.suffix == ".dlc":
        return dlc.inspect(path)
    wheel.version()
    return inspect_binary(path)


def inspect_binary(path: Path) -> Inspection:
    """The contents of a context binary, read by the vendor's library in its own process.

    Raises:
        ToolchainError: it cannot be read.
    """
    script = Path(__file__).with_name("inspect_child.py")
    done = subprocess.run(
        python_command("-B", str(script), str(wheel.library("libQnnSystem.so")), str(path)),
        env=python_environment(),
        preexec_fn=ending_with_parent(),
        capture_output=True,
        text=True,
        check=False,
    )
    content: BinaryContents
    try:
        content = parse_json(done.stdout)
    except ValueError:
        last = done.stderr.strip().rpartition("\n")[2][-200:]
        content = {"error": f"reading it ended with code {done.returncode}{': ' if last else ''}{last}"}
    if "error" in content:
        raise ToolchainError(
            f"it cannot be read as a context binary: {content['error']}", where=path.name, remedy="rebuild it"
        )
    return Inspection(
        kind="context binary",
        graphs=tuple(_graph(graph) for graph in content["graphs"]),
        sdk_version=content["sdk_version"],
        soc_model=content["soc_model"],
    )


def _graph(found: GraphDescription) -> GraphContents:
    inputs, outputs = (tuple(TensorSpec.model_validate(spec) for spec in found[kind]) for kind in ("inputs", "outputs"))
    return GraphContents(found["name"], inputs, outputs)
