"""The parts of a finished run as a device computes them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qairt.device.parts import DeviceParts, GraphLocation
from qairt.device.sdk_files import NET_RUN, library_name
from qairt.errors import GraphError
from qairt.notify import Notify
from qairt.results.deploy import deploy, device_bundle
from qairt.results.device_selection import DeviceSelection
from qairt.results.finished import FinishedRun


@contextmanager
def device_parts(run: FinishedRun, selection: DeviceSelection, notify: Notify) -> Iterator[DeviceParts]:
    """Opens parts on a device; the bundle and `qnn-net-run` are deployed first.

    Raises:
        GraphError: the bundle does not say which graph is in which binary.
        QairtError: the run is not finished, or as `qairt.results.deploy.deploy`.
    """
    with device_bundle(run) as bundle:
        graphs = compiled_graphs(bundle.bundle)
        deployed = deploy(bundle, selection, NET_RUN, notify)
        backend = library_name("QnnHtp", deployed.facts)
        yield DeviceParts(deployed.folder, graphs, backend, told=str(deployed), held=deployed.lock)


def compiled_graphs(bundle: Path) -> dict[tuple[int, int, int], GraphLocation]:
    """Where each graph of a bundle is, by AR, CL and part.

    Raises:
        GraphError: a binary lacks a graph that `metadata.yaml` lists; names both.
    """
    from qairt.bundle.metadata import read_metadata
    from qairt.toolchain.qnn.inspection import inspect

    metadata = read_metadata(bundle)
    found: dict[tuple[int, int, int], GraphLocation] = {}
    names: dict[str, list[str]] = {}
    for graph in metadata.graphs if metadata is not None else ():
        if graph.binary is None:
            continue
        if graph.binary not in names:
            inspection = inspect(bundle / graph.binary)
            names[graph.binary] = [each.name.lstrip("_") for each in inspection.graphs]
        in_binary = names[graph.binary]
        if graph.name not in in_binary:
            raise GraphError(
                f"it holds {', '.join(in_binary)}, not {graph.name}",
                where=str(bundle / graph.binary),
                remedy="binary and metadata.yaml come from different runs: run the pipeline again",
            )
        found[graph.ar, graph.cl, graph.part] = GraphLocation(graph.binary, in_binary.index(graph.name), len(in_binary))
    return found
