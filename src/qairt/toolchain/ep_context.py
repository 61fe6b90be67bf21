"""`EPContext` graphs ("wrappers"): the ONNX files through which ONNX Runtime loads the graphs of a context binary.

A wrapper is one node of domain `com.microsoft` with the graph's inputs and outputs; the binary lies beside the file.
The wheel's compiler writes wrappers with its binaries, which `retarget` corrects after graph and binary were renamed;
`write_wrapper` writes them for binaries of other tools.

Source: the schema of the operator `EPContext` in ONNX Runtime's contrib operators.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import ToolchainError
from qairt.toolchain.base import GraphContents
from qairt.toolchain.provider import PROVIDER

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 21, 10


def write_wrapper(path: Path, graph: GraphContents, *, binary_name: str, sdk_version: str) -> None:
    """Write the wrapper of one graph; the same bytes for the same graph.

    Args:
        path: `NAME_ctx.onnx`, in the binary's folder.
        graph: as read from the binary: the runtime looks its name and tensors up there.
        binary_name: the binary's file name.
        sdk_version: of the SDK that made the binary, as stored in it.

    Raises:
        ToolchainError: ONNX does not know the type of a tensor.
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


def read_wrapper(path: Path) -> onnx.ModelProto:
    """Read a wrapper that the wheel's compiler wrote.

    Raises:
        ToolchainError: there is none, or the compiler split the graph.
    """
    import onnx

    if not path.is_file():
        raise ToolchainError("the compiler wrote no EPContext graph", where=path.name)
    wrapper = onnx.load(path)
    others = [node.op_type for node in wrapper.graph.node if node.op_type != "EPContext"]
    if others or len(wrapper.graph.node) != 1:
        raise ToolchainError(
            f"the graph was split into {len(wrapper.graph.node)} pieces ({', '.join(others) or 'all on the NPU'})",
            where=path.name,
            remedy="a part must run on the NPU as a whole; the item's log names the operations that were refused",
        )
    return wrapper


def partition_name(wrapper: onnx.ModelProto) -> str:
    """The graph's name in the binary, according to its wrapper."""
    name = next(item.s for item in wrapper.graph.node[0].attribute if item.name == "partition_name").decode()
    return str(name)


def retarget(wrapper: onnx.ModelProto, *, graph_name: str, binary_name: str) -> None:
    """Point a wrapper to a renamed graph in a renamed binary beside it."""
    node = wrapper.graph.node[0]
    for item in node.attribute:
        if item.name == "partition_name":
            item.s = graph_name.encode()
        elif item.name == "ep_cache_context":
            item.s = binary_name.encode()
    node.name = graph_name


def _type(dtype: str, path: Path, tensor: str) -> int:
    import numpy as np
    from onnx import helper

    try:
        return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    except (TypeError, KeyError, ValueError) as error:
        raise ToolchainError(
            f"{tensor} has type {dtype}, which ONNX does not know", where=path.name, remedy="see the item's log"
        ) from error
