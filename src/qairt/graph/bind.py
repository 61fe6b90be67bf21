"""Replace the dimensions `ar`, `cl` and `past` by numbers."""

from __future__ import annotations

import onnx_ir as ir

from qairt.errors import GraphError
from qairt.graph.shapes import propagate

SYMBOLS = ("ar", "cl", "past")


def is_symbolic(model: ir.Model) -> bool:
    """Whether the graph's inputs have named dimensions (as our exports do) instead of fixed sizes."""
    return any(
        isinstance(size, ir.SymbolicDim)
        for value in model.graph.inputs
        if value.shape is not None
        for size in value.shape
    )


def bind(model: ir.Model, *, ar: int, cl: int) -> ir.Model:
    """Give every tensor of `model` its shape at this AR and CL, in place.

    Raises:
        GraphError: CL is not larger than AR, or a dimension has an unknown name.
    """
    if cl <= ar:
        raise GraphError(
            f"context length {cl} must be larger than the auto-regressive length {ar}",
            where=model.graph.name,
            remedy="raise context_length or lower arn",
        )
    numbers = {"ar": ar, "cl": cl, "past": cl - ar}
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
                if size.value not in numbers:
                    raise GraphError(
                        f"it has an unknown dimension {size.value!r}",
                        where=f"input {value.name}",
                        remedy=f"name its dimensions {', '.join(SYMBOLS)}",
                    )
                sizes.append(numbers[str(size.value)])
            else:
                sizes.append(size)
        value.shape = ir.Shape(sizes)
    propagate(model)
    model.graph.name = f"ar{ar}-cl{cl}"
    return model
