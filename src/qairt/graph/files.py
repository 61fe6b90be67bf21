"""ONNX files whose weights stay outside: loaded and saved without reading one."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from qairt.errors import GraphError


def load(path: Path) -> ir.Model:
    """Read a graph; its weights are references into the files beside it.

    Raises:
        GraphError: it is not an ONNX file.
    """
    try:
        return ir.load(path)
    except FileNotFoundError as error:
        raise GraphError("the file does not exist", where=str(path), remedy="run again: it is made anew") from error
    except Exception as error:
        raise GraphError(
            f"this is not an ONNX graph ({type(error).__name__})", where=str(path), remedy="export it again"
        ) from error


def save(model: ir.Model, path: Path) -> None:
    """Write the graph alone. External tensors must lie in `path`'s folder under their names."""
    for value in model.graph.initializers.values():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and not (path.parent / tensor.location).is_file():
            raise GraphError(
                f"its weights file {tensor.location} is not beside it", where=str(path), remedy="link it there first"
            )
    proto = ir.to_proto(model)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def external_files(path: Path) -> set[str]:
    """Names of the files that a graph keeps its weights in."""
    return {
        str(value.const_value.location)
        for value in load(path).graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
