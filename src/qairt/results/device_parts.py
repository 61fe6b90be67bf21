"""The parts of a finished run as a device computes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qairt.device.parts import CompiledGraph, DeviceParts
from qairt.device.sdk_files import NET_RUN, library_name
from qairt.errors import GraphError
from qairt.results.device import Chosen, Compiled, brought


def device_parts(compiled: Compiled, chosen: Chosen, say: Callable[[str], None]) -> DeviceParts:
    """What opens parts on a device; the bundle and `qnn-net-run` are brought there first.

    Raises:
        GraphError: the bundle does not say which graph is in which binary.
        QairtError: see `qairt.results.device.brought`.
    """
    graphs = compiled_graphs(compiled.bundle)
    there = brought(compiled, chosen, NET_RUN, say)
    return DeviceParts(there.folder, graphs, library_name("QnnHtp", there.facts), told=str(there), held=there.lock)


def compiled_graphs(bundle: Path) -> dict[tuple[int, int, int], CompiledGraph]:
    """Where each graph of a bundle is, by AR, CL and part.

    Raises:
        GraphError: a binary does not hold a graph that `metadata.yaml` says it does; names both.
    """
    from qairt.bundle.metadata import read_metadata
    from qairt.toolchain.qnn import qnn

    metadata = read_metadata(bundle)
    found: dict[tuple[int, int, int], CompiledGraph] = {}
    names: dict[str, list[str]] = {}
    for graph in metadata.graphs if metadata is not None else ():
        if graph.binary is None:
            continue
        if graph.binary not in names:
            inspection = qnn.inspect(bundle / graph.binary)
            names[graph.binary] = [each.name.lstrip("_") for each in inspection.graphs]
        held = names[graph.binary]
        if graph.name not in held:
            raise GraphError(
                f"it holds {', '.join(held)}, not {graph.name}",
                where=str(bundle / graph.binary),
                remedy="binary and metadata.yaml are of different runs: run the pipeline again",
            )
        found[graph.ar, graph.cl, graph.part] = CompiledGraph(graph.binary, held.index(graph.name), len(held))
    return found
