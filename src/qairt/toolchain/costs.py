"""What it takes to make a part, known before it is made.

Measured on two cores with the wheel onnxruntime-qnn 2.7, AR 1 and 128, on SmolLM2-135M and on random layers of the
shapes of Llama-3.2-1B (CL 1024) and Llama-3.1-8B (CL 4096), there without emulation: see tests/bench/growth.py. AR and
CL hardly show in memory. Seconds are of CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qairt.model.parts import Part

_GRAPH_RAM = 400_000_000, 1.05
"""To read and run a float graph: bytes whatever its size, and for each byte of weights, which are mapped."""
_QUANTIZING_RAM = 200_000_000, 1.05
"""To round weights: bytes whatever their size, and for each byte of the largest tensor."""
_COMPILING_RAM = 250_000_000, {4: 1.45, 8: 2.2}
"""To compile: bytes whatever the size, and for each float32 byte of weights, by the bits that they are rounded to."""
_LINEARS_IN_A_LAYER = 3
"""The largest linear of a layer is about a third of it."""


def graph_peak(part: Part) -> int:
    """Bytes of RAM to write a part's float graph, run it once, or rewrite it."""
    least, each = _GRAPH_RAM
    return round(least + each * (part.weight_bytes - part.embedding_bytes))


def graph_seconds(part: Part) -> float:
    """Seconds to check a part's float graph, or to rewrite it."""
    return 1 + (part.weight_bytes - part.embedding_bytes) / 4e8


def head_split_bytes(part: Part) -> int:
    """Of the projections of queries, keys and values, which are cut by heads: 10 to 16 % of a layer."""
    return _of_layers(part) // 7


def write_seconds(part: Part) -> float:
    """Seconds to read a part's weights from the model's files and write them in float32."""
    return part.weight_bytes / 3e8


def quantize_peak(part: Part, *, sdk: bool = False) -> int:
    """Bytes of RAM to round a part's weights, one after another, and write the quantized graph.

    Args:
        sdk: by the SDK's quantizer, which holds the whole float DLC (not measured).
    """
    if sdk:
        return 300_000_000 + 3 * part.weight_bytes
    least, each = _QUANTIZING_RAM
    layer = _of_layers(part) / max(part.layers, 1)
    return round(least + each * max(part.embedding_bytes, part.head_bytes, layer / _LINEARS_IN_A_LAYER))


def quantize_seconds(part: Part) -> float:
    """Seconds to round a part's weights and write the quantized graph."""
    return 1 + _of_layers(part) / 5e7 + (part.embedding_bytes + part.head_bytes) / 3.7e8


def compile_peak(part: Part, bits: int) -> int:
    """Bytes of RAM of the wheel's compiler, for all graphs of a part; those of AR 1 and 128 share the weights.

    Args:
        bits: of most weights of the layers, 4 or 8; embedding and head have 8.
    """
    least, each = _COMPILING_RAM
    return round(least + each[bits] * _of_layers(part) + each[8] * (part.embedding_bytes + part.head_bytes))


def compile_seconds(part: Part, bits: int, graphs: int) -> float:
    """Seconds of the wheel's compiler for so many graphs of a part."""
    layers = _of_layers(part) * (2.65e-8 if bits == 4 else 1.2e-8)
    return 1 + graphs * (layers + part.head_bytes * 1.2e-8 + part.embedding_bytes * 3.5e-9)


def largest_peak(part: Part, bits: int, *, sdk_quantizer: bool) -> int:
    """Bytes of RAM of the step that takes the most for a part. `bits` as for `compile_peak`."""
    return max(graph_peak(part), quantize_peak(part, sdk=sdk_quantizer), compile_peak(part, bits))


def _of_layers(part: Part) -> int:
    return part.weight_bytes - part.embedding_bytes - part.head_bytes
