"""Check that a bundle's context binaries can be read, suit the chip, and form a chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from qairt.amounts import count, size
from qairt.bundle.check.files import AGAIN
from qairt.bundle.compiled import CompiledBinary, CompiledGraph, compiled
from qairt.bundle.metadata import BundleGraph
from qairt.bundle.opened import OpenedBundle, extensions_of
from qairt.errors import Finding, GraphError, QairtError, ToolchainError
from qairt.runtime.chain_checks import require_chain
from qairt.runtime.parts import PartGraph
from qairt.toolchain.comparison import differences
from qairt.toolchain.genie.config import value_at
from qairt.toolchain.limits import CONTEXT_BYTES, GRAPH_BYTES
from qairt.toolchain.soc import SOCS, WEIGHT_SHARING_SINCE

UNKNOWN_VERSION = "its description has version"
"""The reader's message for a binary of an unsupported SDK version, which is not damaged."""
SCALE_TOLERANCE = 1e-5
"""Some compilers do not preserve the last digits."""
OTHER_CHIP = "compile for this chip: set soc_details in the recipe, run, and export again"


def open_binaries(bundle: OpenedBundle) -> tuple[list[CompiledBinary], list[Finding]]:
    """The binaries in the order they run, and findings about those that cannot be read."""
    from qairt.toolchain.qnn.inspection import inspect

    found, faults = [], []
    for name in bundle.binaries:
        path = bundle.file(name)
        if not path.is_file():
            continue  # found by the check of files
        try:
            found.append(compiled(Path(name).name, path, inspect(path)))
        except ToolchainError as error:
            text = f"{Path(name).name}: {error.what}"
            if UNKNOWN_VERSION in error.what:
                faults.append(Finding("binaries", "warning", text, "it was not checked; compile it with a newer SDK"))
            else:
                faults.append(Finding("binaries", "error", text, AGAIN))
    return found, faults


def check_graphs(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Check limits, chip and order, and that each part's inputs match the outputs of the part before."""
    faults = [*_limits(binaries), *_chips(bundle, binaries), *_order(bundle, binaries)]
    if not faults and len(binaries) == len(bundle.binaries):
        faults += _chains(binaries)
    if bundle.metadata is not None:
        faults += _against_metadata(bundle.metadata.graphs, binaries)
    yield from faults
    if faults or len(binaries) != len(bundle.binaries):
        return
    graphs = [graph.signature for binary in binaries for graph in binary.graphs if graph.signature is not None]
    if not graphs:
        return
    chip = next((soc.name for soc in SOCS.values() if soc.id == binaries[0].inspection.soc_model), "an unknown chip")
    ars, cls = ({getattr(graph, kind) for graph in graphs} for kind in ("ar", "cl"))
    text = (
        f"{count(len(binaries), 'binary', 'binaries')} for {chip}, {count(len(graphs), 'graph')}: AR "
        f"{', '.join(map(str, sorted(ars)))}, context {', '.join(map(str, sorted(cls)))}; each part fits the one "
        "before"
    )
    yield Finding("graphs", "ok", text)


def _limits(binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    remedy = "increase stages.split_model.num_splits, run, and export again"
    for binary in binaries:
        bytes_ = binary.path.stat().st_size
        limit = GRAPH_BYTES if len(binary.graphs) == 1 else CONTEXT_BYTES
        if bytes_ > limit:
            text = f"{binary.name} has {size(bytes_)}, the limit of the NPU is {size(limit)}"
            yield Finding("binaries", "error", text, remedy)


def _chips(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Check that all are for one chip, the same as in the metadata and the backend's configuration."""
    chips = {binary.name: binary.inspection.soc_model for binary in binaries}
    if len(set(chips.values())) > 1:
        listed = ", ".join(f"{name} for {_chip(soc)}" for name, soc in chips.items())
        yield Finding("chip", "error", f"the binaries are for different chips: {listed}", OTHER_CHIP)
        return
    if not chips:
        return
    soc = next(iter(chips.values()))
    if bundle.metadata is not None and bundle.metadata.soc is not None and bundle.metadata.soc.id != soc:
        text = f"the binaries are for {_chip(soc)}, but metadata.yaml says {bundle.metadata.soc.name}"
        yield Finding("chip", "error", text, OTHER_CHIP)
    try:
        extensions = extensions_of(bundle)
    except QairtError as error:
        yield Finding("chip", "error", f"{error.where}: {error.what}", error.remedy)
        return
    devices = extensions.get("devices")
    device = devices[0] if isinstance(devices, list) and devices else {}
    stated = value_at(device, "soc_model") or value_at(device, "soc_id")
    if stated not in (None, soc):
        text = f"the binaries are for {_chip(soc)}, but {bundle.extensions} says {_chip(stated)}"
        yield Finding("chip", "error", text, OTHER_CHIP)
    known = next((each for each in SOCS.values() if each.id == soc), None)
    if known is None:
        yield Finding("chip", "warning", f"the chip with id {soc} is unknown", "check its limits yourself")
        return
    arch = value_at(device, "dsp_arch")
    if arch is not None and arch != f"v{known.htp}":
        text = f"{bundle.extensions} says dsp_arch {arch}, but {known.name} has v{known.htp}"
        yield Finding("chip", "error", text, f"write v{known.htp}")
    shared = [binary.name for binary in binaries if len(binary.graphs) > 1]
    if shared and known.htp < WEIGHT_SHARING_SINCE:
        text = (
            f"{shared[0]} holds several graphs, but {known.name} (HTP v{known.htp}) cannot share weights between graphs"
        )
        yield Finding("chip", "error", text, f"use a chip with HTP v{WEIGHT_SHARING_SINCE} or newer")
    if shared and value_at(extensions, "context", "weight_sharing_enabled") is False:
        text = f"{bundle.extensions} says weight_sharing_enabled false, but {shared[0]} holds several graphs"
        yield Finding("chip", "error", text, "write true")


def _chip(number: object) -> str:
    return next((f"{soc.name} ({soc.id})" for soc in SOCS.values() if soc.id == number), f"chip {number}")


def _order(bundle: OpenedBundle, binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Check that graphs are named by AR, CL and part, and that each AR and CL has all parts in order."""
    unnamed = [graph.plain_name for binary in binaries for graph in binary.graphs if graph.signature is None]
    if unnamed:
        text = f"the name of the graph {unnamed[0]} does not contain AR, context and part, as in ar1_cl512_2_of_4"
        yield Finding("graphs", "warning", text, "rename it; whether the parts fit each other was not checked")
        return
    if len(binaries) != len(bundle.binaries):
        return  # another finding says which is missing or damaged
    for (ar, cl), graphs in _by_length(binaries).items():
        parts, of = [graph.signature.part for graph in graphs if graph.signature is not None], _of(graphs)
        if sorted(parts) != list(range(1, of + 1)):
            text = f"AR {ar} with context {cl} has parts {_list(sorted(parts))} of {of}"
            yield Finding("binaries", "error", text, AGAIN)
        elif bundle.is_for_genie and parts != sorted(parts):
            ordered = sorted(binaries, key=lambda binary: min(binary.parts))
            text = f"the parts are out of order: {_list(parts)}"
            remedy = f"list them in ctx-bins as {', '.join(binary.name for binary in ordered)}"
            yield Finding("binaries", "error", text, remedy)
            return


def _by_length(binaries: Sequence[CompiledBinary]) -> dict[tuple[int, int], list[CompiledGraph]]:
    """The graphs of each AR and context length, in the order of their binaries."""
    found: dict[tuple[int, int], list[CompiledGraph]] = {}
    for binary in binaries:
        for graph in binary.graphs:
            if graph.signature is not None:
                found.setdefault((graph.signature.ar, graph.signature.cl), []).append(graph)
    return dict(sorted(found.items()))


def _of(graphs: Sequence[CompiledGraph]) -> int:
    return max(graph.signature.of for graph in graphs if graph.signature is not None)


def _chains(binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    for (ar, _), graphs in _by_length(binaries).items():
        signatures = [graph.signature for graph in graphs if graph.signature is not None]
        chain = [PartGraph(Path(each.name), each) for each in sorted(signatures, key=lambda each: each.part)]
        try:
            require_chain({ar: chain})
        except GraphError as error:
            text = f"{error.where}: {error.what}" if error.where else error.what
            yield Finding("graphs", "error", text, error.remedy)


def _against_metadata(described: Sequence[BundleGraph], binaries: Sequence[CompiledBinary]) -> Iterator[Finding]:
    """Check that the binaries hold exactly the graphs in metadata.yaml, with the same tensors."""
    held = {(binary.name, graph.plain_name): graph for binary in binaries for graph in binary.graphs}
    opened = {binary.name for binary in binaries}
    for graph in described:
        if graph.binary is None or graph.binary not in opened:
            continue
        found = held.pop((graph.binary, graph.name.lstrip("_")), None)
        if found is None:
            yield Finding("metadata", "error", f"{graph.binary} has no graph {graph.name}", AGAIN)
            continue
        for kind, ours, theirs in (
            ("input", graph.inputs, found.contents.inputs),
            ("output", graph.outputs, found.contents.outputs),
        ):
            for name, one, other in differences(ours, theirs, scale_tolerance=SCALE_TOLERANCE):
                text = (
                    f"{graph.name}: the {kind} {name} is {_text(other)} in {graph.binary}, but {_text(one)} in "
                    "metadata.yaml"
                )
                yield Finding("metadata", "error", text, AGAIN)
    for binary, name in held:
        yield Finding("metadata", "error", f"{binary} holds a graph {name}, which is not in metadata.yaml", AGAIN)


def _text(spec: object) -> str:
    return "missing" if spec is None else str(spec)


def _list(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
