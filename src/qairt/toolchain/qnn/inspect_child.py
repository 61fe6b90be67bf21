"""The process that reads a context binary with the vendor's `libQnnSystem.so`, through ctypes.

    python -P inspect_child.py libQnnSystem.so model.bin       prints one JSON object, a `BinaryContents`

The structures are those of QnnSystemContext.h and QnnTypes.h (system API 1.x, core API 2.x) on a 64-bit machine. It
reads version 3 of the binary's and of the graph's description; tensors of version 1 and 2 begin alike. It imports
nothing of qairt and runs on its own because a damaged file can end it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import sys
from ctypes import POINTER, Structure, c_char_p, c_float, c_int32, c_uint8, c_uint32, c_uint64, c_void_p
from typing import TypedDict

DATA_TYPES = {
    0x0008: "int8",
    0x0016: "int16",
    0x0032: "int32",
    0x0064: "int64",
    0x0108: "uint8",
    0x0116: "uint16",
    0x0132: "uint32",
    0x0216: "float16",
    0x0232: "float32",
    0x0308: "int8",
    0x0316: "int16",
    0x0332: "int32",
    0x0408: "uint8",
    0x0416: "uint16",
    0x0508: "bool",
}
ENCODING_DEFINED = 1
SCALE_OFFSET = 0


class TensorDescription(TypedDict):
    """An input or output; `scale` and `offset` are None unless it is quantized."""

    name: str
    dtype: str
    shape: list[int]
    scale: float | None
    offset: int | None


class GraphDescription(TypedDict):
    """One graph of the binary."""

    name: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]


class BinaryContents(TypedDict, total=False):
    """The contents of the binary, or the `error` alone."""

    sdk_version: str
    soc_model: int
    graphs: list[GraphDescription]
    error: str


class Version(Structure):
    _fields_ = [("major", c_uint32), ("minor", c_uint32), ("patch", c_uint32)]


class QuantizeParams(Structure):
    _fields_ = [
        ("definition", c_uint32),
        ("encoding", c_uint32),
        ("scale", c_float),
        ("offset", c_int32),
        ("rest", c_uint8 * 24),
    ]


class Tensor(Structure):
    _fields_ = [
        ("version", c_uint32),
        ("id", c_uint64),
        ("name", c_char_p),
        ("type", c_uint32),
        ("format", c_uint32),
        ("data_type", c_uint32),
        ("padding", c_uint32),
        ("quantize", QuantizeParams),
        ("rank", c_uint32),
        ("dimensions", POINTER(c_uint32)),
        ("rest", c_uint8 * 48),
    ]


class GraphV3(Structure):
    _fields_ = [
        ("version", c_uint32),
        ("name", c_char_p),
        ("num_inputs", c_uint32),
        ("inputs", POINTER(Tensor)),
        ("num_outputs", c_uint32),
        ("outputs", POINTER(Tensor)),
        ("num_updateable", c_uint32),
        ("updateable", POINTER(Tensor)),
        ("blob_info_size", c_uint32),
        ("blob_info", c_void_p),
        ("start_op", c_uint32),
        ("end_op", c_uint32),
    ]


class BinaryV3(Structure):
    _fields_ = [
        ("version", c_uint32),
        ("backend_id", c_uint64),
        ("build_id", c_char_p),
        ("core_api", Version),
        ("backend_api", Version),
        ("soc_version", c_char_p),
        ("blob_version", Version),
        ("blob_size", c_uint64),
        ("num_context_tensors", c_uint32),
        ("context_tensors", POINTER(Tensor)),
        ("num_graphs", c_uint32),
        ("graphs", POINTER(GraphV3)),
        ("platform_info", c_void_p),
        ("metadata_size", c_uint32),
        ("metadata", c_void_p),
        ("soc_model", c_uint32),
    ]


class Interface(Structure):
    _fields_ = [
        ("backend_id", c_uint32),
        ("name", c_char_p),
        ("version", Version),
        ("create", c_void_p),
        ("get_binary_info", c_void_p),
        ("get_metadata", c_void_p),
        ("free", c_void_p),
    ]


assert ctypes.sizeof(Tensor) == 144


def read(library: str, path: str) -> BinaryContents:
    """Return the error; on success, print the contents and end the process."""
    qnn = ctypes.CDLL(library)
    providers, count = POINTER(POINTER(Interface))(), c_uint32()
    qnn.QnnSystemInterface_getProviders.restype = c_uint64
    if qnn.QnnSystemInterface_getProviders(ctypes.byref(providers), ctypes.byref(count)) or not count.value:
        return {"error": "libQnnSystem has no interface"}
    interface = providers[0].contents
    if interface.version.major != 1:
        return {"error": f"libQnnSystem has interface version {interface.version.major}, expected 1"}
    create = ctypes.CFUNCTYPE(c_uint64, POINTER(c_void_p))(interface.create)
    metadata = ctypes.CFUNCTYPE(c_uint64, c_void_p, c_void_p, c_uint64, POINTER(POINTER(BinaryV3)))(
        interface.get_metadata
    )
    handle, found = c_void_p(), POINTER(BinaryV3)()
    if create(ctypes.byref(handle)):
        return {"error": "libQnnSystem cannot create a context"}
    if not os.path.getsize(path):
        return {"error": "it is empty"}
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE) as content:
        address = c_void_p(ctypes.addressof(c_uint8.from_buffer(content)))
        code = metadata(handle, address, len(content), ctypes.byref(found))
        if code or not found:
            return {"error": f"it is not a context binary (QNN error {code})"}
        sys.stdout.write(json.dumps(describe(found.contents)) + "\n")
        sys.stdout.flush()
        os._exit(0)  # the mapping cannot be closed while ctypes refers to it


def describe(binary: BinaryV3) -> BinaryContents:
    if binary.version != 3:
        return {"error": f"its description has version {binary.version}, expected 3"}
    graphs: list[GraphDescription] = []
    for index in range(binary.num_graphs):
        graph = binary.graphs[index]
        if graph.version != 3:
            return {"error": f"a graph's description has version {graph.version}, expected 3"}
        graphs.append(
            {
                "name": graph.name.decode(),
                "inputs": [tensor(graph.inputs[at]) for at in range(graph.num_inputs)],
                "outputs": [tensor(graph.outputs[at]) for at in range(graph.num_outputs)],
            }
        )
    return {"sdk_version": (binary.build_id or b"").decode(), "soc_model": binary.soc_model, "graphs": graphs}


def tensor(found: Tensor) -> TensorDescription:
    quantized = found.quantize.definition == ENCODING_DEFINED and found.quantize.encoding == SCALE_OFFSET
    return {
        "name": found.name.decode(),
        "dtype": DATA_TYPES.get(found.data_type, hex(found.data_type)),
        "shape": [found.dimensions[at] for at in range(found.rank)],
        "scale": found.quantize.scale if quantized else None,
        "offset": found.quantize.offset if quantized else None,
    }


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1], sys.argv[2])))
