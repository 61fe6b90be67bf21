"""Where the external data of an ONNX graph may lie.

1. A location is a plain relative name: not absolute, without `..`.
2. It leads to a regular file in the graph's folder or below; links that leave the folder are refused. A graph from
   elsewhere could otherwise take any file of this machine into a bundle. Where the graph itself is a link, its weights
   may also lie beside the file that it leads to.
3. The cache of the Hugging Face hub is laid out in links: `snapshots/<revision>/…` to `blobs/<digest>` of the same
   repository. Those may be followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
import onnx_ir as ir

from qairt.errors import GraphError
from qairt.files import open_regular


def external_locations(model: onnx.ModelProto) -> set[str]:
    """Where the values lie that are outside the graph's file: also those of tensors in attributes, subgraphs and
    functions."""
    functions = chain.from_iterable(_tensors_in(function.node) for function in model.functions)
    return {
        entry.value
        for tensor in chain(_tensors_of(model.graph), functions)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _tensors_of(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_in(graph.node)


def _tensors_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for attribute in chain.from_iterable(node.attribute for node in nodes):
        yield from (attribute.t, *attribute.tensors)
        for graph in (attribute.g, *attribute.graphs):
            yield from _tensors_of(graph)


def require_own(onnx: Path, location: str) -> None:
    """Check rules 1 to 3. A file that does not exist is left to whoever opens it.

    Args:
        onnx: the graph.
        location: of one of its tensors.

    Raises:
        GraphError: a rule is violated.
    """
    folder = onnx.parent.resolve()
    parts = PurePosixPath(location), PureWindowsPath(location)
    if not location or any(path.anchor or ".." in path.parts for path in parts):
        raise _refused(onnx, location, "which is not a plain name")
    path = (folder / location).resolve()
    own = path.is_relative_to(folder) or path.is_relative_to(onnx.resolve().parent)
    if not own and path.parent != _hub_blobs(folder):
        raise _refused(onnx, location, f"a link that leaves its folder, to {path}")
    if path.exists() and not path.is_file():
        raise _refused(onnx, location, "which is not a regular file")


def read_whole(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    """A copy of a tensor in memory, whatever its type; onnx_ir itself refuses files with several names, and links."""
    with open_regular(Path(tensor.path)) as file:
        file.seek(tensor.offset or 0)
        data = file.read(tensor.nbytes)
    stored = onnx.TensorProto(name=tensor.name, data_type=tensor.dtype.value, dims=tensor.shape.numpy(), raw_data=data)
    whole: ir.TensorProtocol = ir.from_proto(stored)
    return whole


def _hub_blobs(folder: Path) -> Path | None:
    """The blobs of the repository that a folder in the hub's cache is a snapshot of."""
    return next((parent.parent / "blobs" for parent in folder.parents if parent.name == "snapshots"), None)


def _refused(onnx: Path, location: str, why: str) -> GraphError:
    return GraphError(
        f"its weights are in {location!r}, {why}",
        where=str(onnx),
        remedy="put the weights file beside the graph, and export it with that file's name as the location",
    )
