"""Check the LoRA concurrencies of a bundle: their files hold what the graphs' inputs take, in every format alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from qairt.amounts import count
from qairt.bundle.adapter_files import (
    FOLDER,
    RAW,
    STAGE,
    adapter_file,
    as_genie_stores,
    branch_inputs,
    genie_values,
    read_onnx_adapter,
)
from qairt.bundle.check.files import AGAIN
from qairt.bundle.opened import OpenedBundle
from qairt.errors import Finding, GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.recipe.configs import BASE
from qairt.runtime.stored import Array
from qairt.toolchain.genie.config import GENIE_CONFIG, value_at

LORA = ("dialog", "engine", "model", "binary", "lora")
_OFF_GRID = 0.5
"""Of a step: Genie rounds down, so a value this far from where qairt puts it becomes another integer."""


def check_adapters(bundle: OpenedBundle) -> Iterator[Finding]:
    """Compare the files of every concurrency with the graphs, and the formats with each other."""
    inputs = _inputs(bundle)
    if bundle.is_for_genie:
        yield from _genie(bundle, inputs)
        return
    names = bundle.metadata.concurrencies if bundle.metadata is not None else ()
    graphs = bundle.metadata.graphs if bundle.metadata is not None else ()
    parts = {graph.part: graph for graph in graphs if branch_inputs([graph])}.values()
    faults: list[Finding] = []
    if inputs and not names:
        faults.append(Finding("adapters", "error", f"the graphs take LoRA values, and {_NOWHERE}", AGAIN))
    for name in names:
        values: dict[str, Array] = {}
        for graph in parts:
            faults += _adapter(bundle, name, graph, values)
        if bundle.form == "ort":
            faults += _stage(bundle, name, values)
    yield from _told(faults, names)


_NOWHERE = "the bundle has none"


def _inputs(bundle: OpenedBundle) -> dict[str, TensorSpec]:
    graphs = bundle.metadata.graphs if bundle.metadata is not None else ()
    return branch_inputs(graphs)


def _told(faults: list[Finding], names: tuple[str, ...]) -> Iterator[Finding]:
    yield from faults
    if names and not faults:
        text = f"{', '.join(names)}: the values of {count(len(names), 'LoRA concurrency', 'LoRA concurrencies')}"
        yield Finding("adapters", "ok", f"{text} fit the graphs")


def _genie(bundle: OpenedBundle, inputs: Mapping[str, TensorSpec]) -> Iterator[Finding]:
    block = bundle.at(*LORA)
    listed = value_at(block, "adapters")
    adapters = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    if not adapters:
        if inputs:
            text = f"the graphs take LoRA values, but {GENIE_CONFIG} has no {'.'.join(LORA[1:])}.adapters"
            yield Finding("adapters", "error", text, AGAIN)
        return
    faults: list[Finding] = []
    for each in adapters:
        path = each.get("path")
        if isinstance(path, str):
            faults += _raw_folder(bundle.file(path), path, inputs, is_base=each.get("name") == BASE)
        elif "alphas" in each:
            faults += _strengths(each, value_at(block, "alpha-tensor-name"), inputs)
    names = tuple(str(each.get("name")) for each in adapters)
    stated = bundle.metadata.concurrencies if bundle.metadata is not None else ()
    if stated and set(stated) != set(names):
        text = f"{GENIE_CONFIG} has the adapters {', '.join(names)}, metadata.yaml {', '.join(stated)}"
        faults.append(Finding("adapters", "error", text, AGAIN))
    yield from _told(faults, names)


def _strengths(adapter: Mapping[str, object], tensor: object, inputs: Mapping[str, TensorSpec]) -> Iterator[Finding]:
    """Whether the names of strengths fit the input that they go to."""
    shown = f"{GENIE_CONFIG}: the adapter {adapter.get('name')}"
    if "bin-sections" not in adapter:
        text = f"{shown} has alphas and no bin-sections: Genie crashes"
        yield Finding("adapters", "error", text, 'write "bin-sections": []')
    spec, alphas = inputs.get(str(tensor)), adapter.get("alphas")
    if spec is None:
        text = f"{GENIE_CONFIG}: alpha-tensor-name is {tensor}, which is no input of the graphs"
        yield Finding("adapters", "error", text, AGAIN)
    elif not isinstance(alphas, list) or len(alphas) != int(np.prod(spec.shape)):
        names = len(alphas) if isinstance(alphas, list) else 0
        text = f"{shown} has {count(names, 'alpha')}, {spec.name} has room for {int(np.prod(spec.shape))}"
        yield Finding("adapters", "error", text, AGAIN)


def _raw_folder(folder: Path, written: str, inputs: Mapping[str, TensorSpec], *, is_base: bool) -> Iterator[Finding]:
    for name, spec in inputs.items():
        path, shown = folder / f"{name}{RAW}", f"{written}/{name}{RAW}"
        if not path.is_file():
            yield Finding("adapters", "error", f"{shown} is missing", AGAIN)
            continue
        needed = 4 * int(np.prod(spec.shape))
        if path.stat().st_size != needed:
            text = f"{shown} has {path.stat().st_size:,} bytes, {list(spec.shape)} in float32 are {needed:,}"
            yield Finding("adapters", "error", text, AGAIN)
            continue
        values = np.fromfile(path, "<f4").reshape(spec.shape)
        if not np.isfinite(values).all():
            yield Finding("adapters", "error", f"{shown} holds NaN or infinity", AGAIN)
            continue
        stored = as_genie_stores(values, spec)
        off = np.abs(values - genie_values(stored, spec)) > _OFF_GRID * (spec.scale or 1.0)
        if off.any():
            text = f"{shown}: {off.mean():.1%} of its values do not lie on the graphs' grid, so Genie changes them"
            yield Finding("adapters", "error", text, AGAIN)
        elif is_base and _is_not_zero(stored, spec):
            yield Finding("adapters", "error", f"{shown} is not zero, so {BASE} is not the base model", AGAIN)


def _adapter(bundle: OpenedBundle, name: str, graph: GraphSignature, values: dict[str, Array]) -> Iterator[Finding]:
    """Compare a part's adapter with the part; its values are added to `values`."""
    shown, inputs = adapter_file(name, graph), branch_inputs([graph])
    try:
        found = read_onnx_adapter(bundle.folder / shown)
    except GraphError as error:
        yield Finding("adapters", "error", f"{shown}: {error.what}", AGAIN)
        return
    values |= found
    for tensor in sorted(found.keys() | inputs.keys()):
        held, spec = found.get(tensor), inputs.get(tensor)
        ours = "missing" if held is None else f"{held.dtype} {list(held.shape)}"
        theirs = "missing" if spec is None else f"{spec.dtype} {list(spec.shape)}"
        if ours != theirs:
            text = f"{shown}: {tensor} is {ours}, in the graph it is {theirs}"
            yield Finding("adapters", "error", text, AGAIN)
        elif name == BASE and held is not None and spec is not None and _is_not_zero(held, spec):
            yield Finding("adapters", "error", f"{shown}: {tensor} is not zero, so {BASE} is not the base model", AGAIN)


def _stage(bundle: OpenedBundle, name: str, values: Mapping[str, Array]) -> Iterator[Finding]:
    """Whether onnxruntime-genai's graph gives the same values."""
    import onnxruntime

    shown = f"{FOLDER}/{name}{STAGE}"
    try:
        session = onnxruntime.InferenceSession(bundle.folder / shown, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in session.get_outputs()]
        held = dict(zip(outputs, session.run(outputs, {}), strict=True))
    except Exception as failure:  # ONNX Runtime's classes share no base but Exception
        reason = (str(failure) or type(failure).__name__).splitlines()[0]
        yield Finding("adapters", "error", f"{shown} gives no values: {reason}", AGAIN)
        return
    for tensor in sorted(values.keys() | held.keys()):
        if tensor not in held or tensor not in values or not np.array_equal(held[tensor], values[tensor]):
            text = f"{shown} gives another {tensor} than the adapters in {FOLDER}/{name} hold"
            yield Finding("adapters", "error", text, AGAIN)
            return


def _is_not_zero(stored: Array, spec: TensorSpec) -> bool:
    """Whether a stored tensor differs from the real value 0 anywhere."""
    return bool((stored.astype(np.int64) + (spec.offset or 0)).any())
