"""The files of a bundle's LoRA concurrencies: what each puts into the graphs' inputs.

    lora/NAME/TENSOR.raw                    Genie: float32 in the graph's shape
    lora/NAME/part_2_of_3.onnx_adapter      ONNX Runtime: a part's stored integers, for a run option
    lora/NAME.onnx                          onnxruntime-genai: all of them, a graph without inputs in the pipeline

Genie quantizes with the tensor's encoding and rounds down, so its values lie a quarter of a step above the grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from qairt.bundle.contents import Adapters
from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.model.names import is_branch_input
from qairt.runtime.stored import Array, Floats, to_real

FOLDER = "lora"
RAW, ADAPTER, STAGE = ".raw", ".onnx_adapter", ".onnx"
_ABOVE = 0.25
"""Of a step."""
_VERSION = 1


def adapter_file(name: str, signature: GraphSignature) -> str:
    """The adapter of a part for ONNX Runtime, which refuses one with inputs of other graphs."""
    return f"{FOLDER}/{name}/part_{signature.part}_of_{signature.of}{ADAPTER}"


def branch_inputs(signatures: Iterable[GraphSignature]) -> dict[str, TensorSpec]:
    """The inputs of all LoRA branches, by name, in the order of the parts."""
    return {spec.name: spec for signature in signatures for spec in signature.inputs if is_branch_input(spec.name)}


def write_genie_values(folder: Path, values: Mapping[str, Array], inputs: Mapping[str, TensorSpec]) -> None:
    """One file for each input, in a new folder."""
    folder.mkdir(parents=True)
    for name, spec in inputs.items():
        (folder / f"{name}{RAW}").write_bytes(genie_values(values[name], spec).astype("<f4").tobytes())


def genie_values(stored: Array, spec: TensorSpec) -> Floats:
    """The float32 values that Genie turns into these stored integers."""
    return to_real(stored, spec) + np.float32(_ABOVE * (spec.scale or 0.0))


def as_genie_stores(values: Floats, spec: TensorSpec) -> Array:
    """The integers that Genie makes of float32 values: rounded down, and limited to the type."""
    limits = np.iinfo(spec.dtype)
    steps = np.floor(values.astype(np.float64) / (spec.scale or 1.0)) - (spec.offset or 0)
    return np.asarray(np.clip(steps, limits.min, limits.max), spec.dtype)


def write_onnx_adapters(
    folder: Path, name: str, values: Mapping[str, Array], signatures: Iterable[GraphSignature]
) -> None:
    """The adapters of every part that has LoRA branches, in a bundle."""
    for signature in signatures:
        inputs = branch_inputs([signature])
        if inputs:
            write_onnx_adapter(folder / adapter_file(name, signature), {each: values[each] for each in inputs})


def write_onnx_adapter(path: Path, values: Mapping[str, Array]) -> None:
    """An adapter for ONNX Runtime's run options, in its own format."""
    from onnxruntime import AdapterFormat, OrtValue

    written = AdapterFormat()
    written.set_adapter_version(_VERSION)
    written.set_model_version(_VERSION)
    written.set_parameters({name: OrtValue.ortvalue_from_numpy(value) for name, value in values.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    written.export_adapter(str(path))


def read_onnx_adapter(path: Path) -> dict[str, Array]:
    """Its tensors.

    Raises:
        GraphError: it is missing or damaged.
    """
    from onnxruntime import AdapterFormat

    try:
        read = AdapterFormat.read_adapter(str(path))
        return {name: value.numpy().copy() for name, value in read.get_parameters().items()}
    except Exception as failure:  # ONNX Runtime's classes share no base but Exception
        raise GraphError(
            f"not an ONNX Runtime adapter: {(str(failure) or type(failure).__name__).splitlines()[0]}",
            where=path.name,
            remedy="export the bundle again",
        ) from failure


def concurrency_values(adapters: Adapters, inputs: Mapping[str, TensorSpec]) -> dict[str, dict[str, Array]]:
    """By concurrency, the values of the graphs' inputs, in the graphs' order.

    Raises:
        GraphError: a value is missing or has another type or shape; names it.
    """
    found: dict[str, dict[str, Array]] = {}
    for each in adapters.concurrencies:
        values = each.read()
        for name, spec in inputs.items():
            held = values.get(name)
            if held is None or (str(held.dtype), held.shape) != (spec.dtype, spec.shape):
                has = "missing" if held is None else f"{held.dtype} {list(held.shape)}"
                raise GraphError(
                    f"the value of {name} is {has}, the graphs take {spec.dtype} {list(spec.shape)}",
                    where=f"concurrency {each.concurrency}",
                    remedy="run again: the adapters were prepared for other graphs",
                )
        found[each.concurrency] = {name: values[name] for name in inputs}
    return found
