"""Replace the dimensions `ar`, `cl` and `past` by numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from qairt.errors import GraphError
from qairt.graph.shapes import propagate
from qairt.model.inputs import LOCAL, MASK

SYMBOLS = ("ar", "cl", "past")


def windowed(symbol: str, window: int | None) -> str:
    """The name of the dimension `cl` or `past` of layers with windowed attention: `past_512`. Besides the new tokens
    they hold the `window` tokens before them at most, whatever the context length."""
    return symbol if window is None else f"{symbol}_{window}"


def size_of(symbol: str, *, ar: int, cl: int) -> int | None:
    """The number that a named dimension stands for; None if it has another name."""
    name, _, window = symbol.partition("_")
    past = cl - ar
    if window:
        if not window.isdecimal():
            return None
        past = min(past, int(window))
    return {"ar": ar, "cl": past + ar, "past": past}.get(name) if name != "ar" or not window else None


def is_symbolic(model: ir.Model) -> bool:
    """Whether the graph's inputs have named dimensions (as our exports do) instead of fixed sizes."""
    return any(
        isinstance(size, ir.SymbolicDim)
        for value in model.graph.inputs
        if value.shape is not None
        for size in value.shape
    )


def bind(model: ir.Model, *, ar: int, cl: int, constants: Mapping[str, NDArray[np.float32]] | None = None) -> ir.Model:
    """Give every tensor of `model` its shape at this AR and CL, in place.

    Args:
        constants: values of inputs that do not depend on the text, which the graph holds from now on. Given for an
            embedding model, whose CL is AR: it has no cache.

    Raises:
        GraphError: CL is not larger than AR, or a dimension has an unknown name.
    """
    if cl <= ar and constants is None:
        raise GraphError(
            f"context length {cl} must be larger than the auto-regressive length {ar}",
            where=model.graph.name,
            remedy="raise context_length or lower arn",
        )
    for value in model.graph.inputs:
        if value.shape is None:
            raise GraphError(
                "its shape is missing",
                where=f"input {value.name}",
                remedy=f"export it with fixed sizes, or with dimensions named {', '.join(SYMBOLS)}",
            )
        sizes = []
        for size in value.shape:
            if isinstance(size, ir.SymbolicDim):
                number = size_of(str(size.value), ar=ar, cl=cl)
                if number is None:
                    raise GraphError(
                        f"it has an unknown dimension {size.value!r}",
                        where=f"input {value.name}",
                        remedy=f"name its dimensions {', '.join(SYMBOLS)}",
                    )
                sizes.append(number)
                value.meta["window"] = int(str(size.value).partition("_")[2] or cl)
            else:
                sizes.append(size)
        value.shape = ir.Shape(sizes)
    for name, values in (constants or {}).items():
        _hold(model.graph, name, values)
    _join_masks(model, cl)
    propagate(model)
    model.graph.name = f"ar{ar}-cl{cl}"
    return model


def _hold(graph: ir.Graph, name: str, values: NDArray[np.float32]) -> None:
    """Turn an input into an initializer."""
    (value,) = (each for each in graph.inputs if each.name == name)
    graph.inputs.remove(value)
    value.const_value = ir.tensor(values, name=name)
    graph.initializers[name] = value


def _join_masks(model: ir.Model, cl: int) -> None:
    """A window that no context of this length exceeds hides nothing: its layers then read the mask of the others, as
    runtimes with one mask expect."""
    inputs = {str(value.name): value for value in model.graph.inputs}
    mask, local = inputs.get(MASK), inputs.get(MASK + LOCAL)
    if mask is None or local is None or local.meta["window"] < cl:
        return
    for node, index in list(local.uses()):
        node.replace_input_with(index, mask)
    model.graph.inputs.remove(local)
