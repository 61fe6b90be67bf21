"""`EPContext` graphs: the ONNX files by which ONNX Runtime loads a context binary's graphs.

One node, of domain `com.microsoft`, with the graph's inputs and outputs; the binary lies beside the file. The wheel's
compiler writes them with its binaries (see `qnn_compile`); here they are written for binaries that another tool made.

Source: the schema of the operator `EPContext` in ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from pathlib import Path

from qairt.errors import ToolchainError
from qairt.toolchain.base import GraphContents

PROVIDER = "QNNExecutionProvider"
OPSET, IR_VERSION = 21, 10


def write_wrapper(path: Path, graph: GraphContents, *, binary_name: str, sdk_version: str) -> None:
    """Write the wrapper of one graph; the same bytes for the same graph.

    Args:
        path: `NAME_ctx.onnx`, in the binary's folder.
        graph: as it was read out of the binary: its name and tensors are those that the runtime asks for.
        binary_name: the binary's file name.
        sdk_version: of the SDK that made it, as it stands in the binary.

    Raises:
        ToolchainError: a tensor has a type that ONNX does not know.
    """
    from onnx import helper

    names = [spec.name for spec in graph.inputs], [spec.name for spec in graph.outputs]
    node = helper.make_node(
        "EPContext",
        *names,
        name=graph.name,
        domain="com.microsoft",
        main_context=1,
        embed_mode=0,
        ep_cache_context=binary_name,
        ep_sdk_version=sdk_version,
        source=PROVIDER,
        partition_name=graph.name,
    )
    inputs, outputs = (
        [helper.make_tensor_value_info(spec.name, _type(spec.dtype, path, spec.name), spec.shape) for spec in specs]
        for specs in (graph.inputs, graph.outputs)
    )
    model = helper.make_model(
        helper.make_graph([node], graph.name, inputs, outputs),
        producer_name="qairt",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)],
    )
    path.write_bytes(model.SerializeToString(deterministic=True))


def _type(dtype: str, path: Path, tensor: str) -> int:
    import numpy as np
    from onnx import helper

    try:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    except (TypeError, KeyError, ValueError) as error:
        raise ToolchainError(
            f"{tensor} has the type {dtype}, which ONNX does not know", where=path.name, remedy="see the item's log"
        ) from error
