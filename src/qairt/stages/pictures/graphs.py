"""Pictures of graphs: operators, bytes in and out per call, and file sizes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.amounts import count, size
from qairt.stages.pictures import svg

if TYPE_CHECKING:
    import onnx_ir as ir

MAX_KINDS = 20


def draw_operators(title: str, onnx: Path, directory: Path) -> None:
    """Write `operators.svg`: number of operators of each type, most frequent first."""
    from qairt.graph import files

    kinds = Counter(node.op_type for node in files.load(onnx).graph)
    rows = [(kind, float(times), f"{times:,}") for kind, times in kinds.most_common(MAX_KINDS)]
    rest = sum(kinds.values()) - sum(int(times) for _, times, _ in rows)
    rows += [("all others", float(rest), f"{rest:,}")] if rest else []
    (directory / "operators.svg").write_text(svg.bars(title, rows), encoding="utf-8")


def draw_operator_counts(title: str, graphs: Mapping[str, Path], directory: Path) -> None:
    """Write `operator_counts.svg`: operators per graph, with the number of MatMuls."""
    from qairt.graph import files

    rows = []
    for name, onnx in graphs.items():
        kinds = Counter(node.op_type for node in files.load(onnx).graph)
        rows.append((name, float(kinds.total()), f"{count(kinds.total(), 'operator')}, {kinds['MatMul']:,} MatMul"))
    (directory / "operator_counts.svg").write_text(svg.bars(title, rows), encoding="utf-8")


def draw_interfaces(title: str, graphs: Mapping[str, Path], directory: Path) -> None:
    """Write `interfaces.svg`: bytes of each graph's inputs and outputs, as float32."""
    from qairt.graph import files

    rows = []
    for name, onnx in graphs.items():
        graph = files.load(onnx).graph
        inputs, outputs = (_bytes(values) for values in (graph.inputs, graph.outputs))
        rows.append((name, float(inputs + outputs), f"{size(inputs)} in, {size(outputs)} out"))
    (directory / "interfaces.svg").write_text(svg.bars(title, rows), encoding="utf-8")


def draw_sizes(title: str, files: Mapping[str, Sequence[Path]], picture: Path) -> None:
    """Write `picture`: total size of the files in each group."""
    sizes = {name: sum(path.stat().st_size for path in paths) for name, paths in files.items()}
    rows = [(name, float(bytes_), size(bytes_)) for name, bytes_ in sizes.items()]
    picture.write_text(svg.bars(title, rows), encoding="utf-8")


def _bytes(values: Sequence[ir.Value]) -> int:
    shapes = [value.shape for value in values if value.shape is not None]
    return sum(4 * prod(axis for axis in shape if isinstance(axis, int)) for shape in shapes)
