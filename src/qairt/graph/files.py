"""ONNX files with external weights, loaded and saved without reading them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import GraphError

if TYPE_CHECKING:
    import onnx
    import onnx_ir as ir


def load(path: Path) -> ir.Model:
    """Read a graph, to change it; its weights refer to the files beside it.

    Raises:
        GraphError: it is not an ONNX file, or its weights lie where they must not, see `external_data`.
    """
    import onnx_ir as ir

    stored = read(path)
    try:
        model: ir.Model = ir.from_proto(stored)
    except Exception as error:
        raise _unreadable(path, error) from error
    ir.external_data.set_base_dir(model.graph, path.parent)
    return model


def read(path: Path) -> onnx.ModelProto:
    """A graph as its file stores it, without the values beside it. Takes a fiftieth of the time of `load`.

    Raises:
        GraphError: what `load` raises.
    """
    import onnx

    from qairt.graph.external_data import external_locations, require_own

    try:
        model = onnx.load_model(path, load_external_data=False)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except Exception as error:  # protobuf's
        raise _unreadable(path, error) from error
    for location in external_locations(model):
        require_own(path, location)
    return model


def save(model: ir.Model, path: Path, *, by_reference: bool = False) -> None:
    """Write the graph only.

    Args:
        by_reference: the files of its external tensors are not there; else they must be in the same folder.
    """
    import onnx_ir as ir

    for value in model.graph.initializers.values():
        tensor = value.const_value
        if by_reference or not isinstance(tensor, ir.ExternalTensor):
            continue
        if not (path.parent / tensor.location).is_file():
            raise GraphError(
                f"its weights file {tensor.location} is not beside it", where=str(path), remedy="link it there first"
            )
    proto = ir.to_proto(model)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def external_files(path: Path) -> set[str]:
    """Names of the files with the graph's weights, relative to its folder; raises what `load` does."""
    from qairt.graph.external_data import external_locations

    return external_locations(read(path))


def _missing(path: Path) -> GraphError:
    return GraphError("the file does not exist", where=str(path), remedy="run again to rebuild it")


def _unreadable(path: Path, error: Exception) -> GraphError:
    return GraphError(f"this is not an ONNX graph ({type(error).__name__})", where=str(path), remedy="export it again")
