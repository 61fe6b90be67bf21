"""The wheel's compiler on files alone: graphs get the names that a test gives them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from qairt.graph.tensors import GraphSignature
from qairt.toolchain.base import BinarySpec, LinkResult, PartToQuantize, QuantizedGraph
from qairt.toolchain.onnx_contents import onnx_contents
from qairt.toolchain.qnn.compiler import QnnToolchain
from qairt.toolchain.soc import Soc


def convert(onnx: Path, dlc: Path) -> None:
    """A float ONNX as a float DLC."""
    QnnToolchain().convert(onnx, dlc)


def quantize(onnx: Path, dlc: Path) -> None:
    """A QDQ ONNX as a quantized DLC."""
    QnnToolchain().quantize(PartToQuantize(onnx, onnx, signature(onnx, "ar1_cl2_1_of_1")), dlc)


def link(
    graphs: Sequence[tuple[Path, str]], out_dir: Path, *, binary_name: str, soc: Soc, optimization_level: int = 3
) -> LinkResult:
    """QDQ ONNX files, and names such as `ar1_cl512_2_of_4`, as one context binary."""
    binary = BinarySpec(binary_name, soc, optimization_level)
    return QnnToolchain().link([QuantizedGraph(onnx, signature(onnx, name)) for onnx, name in graphs], out_dir, binary)


def signature(onnx: Path, name: str) -> GraphSignature:
    """Of a graph with this name."""
    match = re.fullmatch(r"ar(\d+)[-_]cl(\d+)_(\d+)_of_(\d+)", name)
    assert match is not None
    ar, cl, part, of = map(int, match.groups())
    contents = onnx_contents(onnx)
    return GraphSignature(name=name, ar=ar, cl=cl, part=part, of=of, inputs=contents.inputs, outputs=contents.outputs)
