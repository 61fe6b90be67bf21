"""Makes tests/model/quantized/by_others.safetensors: small weights, packed and unpacked by the programs themselves.

Run by hand, with compressed-tensors, bitsandbytes, AutoGPTQ and AutoAWQ (their sources suffice) on PYTHONPATH:

    python tests/support/quantized_by_others.py tests/model/quantized/by_others.safetensors

Tensors are named `{case}/{name in a checkpoint}`; `{case}/expected` [32, 64] is what the program computes with.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file

OUT, IN = 32, 64
Tensors = dict[str, torch.Tensor]


def source(package: str, path: str) -> ModuleType:
    """A file of a package, without what the package imports."""
    folder = next(Path(at) / package for at in sys.path if (Path(at) / package).is_dir())
    spec = importlib.util.spec_from_file_location(Path(path).stem, folder / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def weight(seed: int) -> torch.Tensor:
    return torch.randn(OUT, IN, generator=torch.Generator().manual_seed(seed)) * 0.1


def grouped(values: torch.Tensor, bits: int, group: int, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and zero points [out, groups] in float16, zero points of 1 and more."""
    blocks = values.reshape(OUT, -1, group)
    top = (1 << bits) - 1
    if symmetric:
        scales = (2 * blocks.abs().amax(-1) / top).half().float()
        return scales, torch.full_like(scales, 1 << (bits - 1))
    low, high = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
    scales = ((high - low) / top).half().float()
    return scales, (-low / scales).round().clamp(1, top)


def gptq(bits: int, *, symmetric: bool, order: bool) -> Tensors:
    qlinear = source("auto_gptq", "nn_modules/qlinear/qlinear_cuda.py")
    values = weight(bits)
    # Act-order: the inputs are sorted into groups by importance.
    place = torch.randperm(IN, generator=torch.Generator().manual_seed(1)) if order else torch.arange(IN)
    g_idx = torch.empty(IN, dtype=torch.int32)
    g_idx[place] = torch.arange(IN, dtype=torch.int32) // 32
    scales, zeros = grouped(values[:, place], bits, 32, symmetric=symmetric)
    linear = torch.nn.Linear(IN, OUT, bias=False, dtype=torch.float16)
    linear.weight.data = values.half()
    packed = qlinear.QuantLinear(bits, 32, IN, OUT, False, weight_dtype=torch.float16)
    packed.pack(linear, scales, zeros.clone(), g_idx)
    expected = packed(torch.eye(IN, dtype=torch.float16)).T
    return {f"m.{name}": tensor for name, tensor in packed.state_dict().items()} | {"expected": expected}


def awq() -> Tensors:
    packing = source("awq", "utils/packing_utils.py")
    values = weight(20)
    scales, zeros = grouped(values, 4, 32, symmetric=False)
    codes = (values.reshape(OUT, 2, 32) / scales[..., None] + zeros[..., None]).round().clamp(0, 15)
    codes = codes.reshape(OUT, IN).T.int()

    def pack(integers: torch.Tensor) -> torch.Tensor:
        """As `WQLinear_GEMM.from_linear` does."""
        packed = torch.zeros(len(integers), integers.shape[1] // 8, dtype=torch.int32)
        for column in range(packed.shape[1]):
            for at, place in enumerate(packing.AWQ_ORDER):
                packed[:, column] |= integers[:, column * 8 + place] << (at * 4)
        return packed

    stored = {"qweight": pack(codes), "qzeros": pack(zeros.T.int().contiguous()), "scales": scales.T.half()}
    expected = packing.dequantize_gemm(stored["qweight"], stored["qzeros"], stored["scales"], 4, 32)
    return {f"m.{name}": tensor for name, tensor in stored.items()} | {"expected": expected.T}


def compressed(format: str, dtype: torch.dtype = torch.bfloat16, order: bool = False, **weights: object) -> Tensors:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams

    arguments = QuantizationArgs(**weights)
    values = weight(30).to(dtype)
    state: Tensors = {"weight": values}
    scheme = QuantizationScheme(targets=["Linear"], weights=arguments, format=format)
    size = arguments.group_size or (IN if arguments.strategy == "channel" else 0)
    place = torch.arange(IN)
    if order:
        place = torch.randperm(IN, generator=torch.Generator().manual_seed(2))
        state["weight_g_idx"] = torch.empty(IN, dtype=torch.int32)
        state["weight_g_idx"][place] = torch.arange(IN, dtype=torch.int32) // size
    if arguments.strategy == "block":
        blocks = values.reshape(2, 16, 2, 32).permute(0, 2, 1, 3).reshape(2, 2, -1)
    else:
        blocks = values[:, place].reshape(OUT, -1, size) if size else values.reshape(1, -1)
    scale, zero = calculate_qparams(blocks.amin(-1), blocks.amax(-1), arguments)
    state |= {"weight_scale": scale.to(dtype), "weight_zero_point": zero}
    compressor = BaseCompressor.get_value_from_registry(format)
    stored = compressor.compress(state, scheme)
    expected = compressor.decompress(stored, scheme)["weight"]
    return {f"m.{name}": tensor.contiguous() for name, tensor in stored.items()} | {"expected": expected}


def bitsandbytes_4(kind: str, dtype: torch.dtype, *, double: bool) -> Tensors:
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(weight(40).to(dtype), quant_type=kind, compress_statistics=double)
    stored = {f"m.weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}
    expected = functional.dequantize_4bit(packed, state)
    return stored | {"m.weight": packed, "expected": expected}


def bitsandbytes_8() -> Tensors:
    from bitsandbytes import functional

    packed, largest, _ = functional.int8_vectorwise_quant(weight(41).half())
    expected = functional.int8_vectorwise_dequant(packed, largest)
    layout = torch.tensor(0, dtype=torch.uint8)
    return {"m.weight": packed, "m.SCB": largest, "m.weight_format": layout, "expected": expected}


def main() -> None:
    four = {"num_bits": 4, "strategy": "group", "group_size": 32}
    cases = {
        **{f"gptq-{bits}": gptq(bits, symmetric=bits == 4, order=False) for bits in (2, 3, 4, 8)},
        "gptq-4-order": gptq(4, symmetric=False, order=True),
        "awq": awq(),
        "pack-4": compressed("pack-quantized", **four),
        "pack-4-asymmetric": compressed("pack-quantized", **four, symmetric=False),
        "pack-4-order": compressed("pack-quantized", order=True, **four, symmetric=False, actorder="group"),
        "pack-3-channel": compressed("pack-quantized", torch.float16, num_bits=3, strategy="channel", symmetric=False),
        "pack-8-channel": compressed("pack-quantized", num_bits=8, strategy="channel"),
        "int-8-channel": compressed("int-quantized", num_bits=8, strategy="channel", symmetric=False),
        "int-8-tensor": compressed("int-quantized", torch.float32, num_bits=8, strategy="tensor"),
        "float-8-channel": compressed("float-quantized", num_bits=8, type="float", strategy="channel"),
        "float-8-tensor": compressed("float-quantized", num_bits=8, type="float", strategy="tensor"),
        "float-8-block": compressed(
            "float-quantized", num_bits=8, type="float", strategy="block", block_structure=[16, 32]
        ),
        "nf4": bitsandbytes_4("nf4", torch.float16, double=False),
        "nf4-double": bitsandbytes_4("nf4", torch.bfloat16, double=True),
        "fp4": bitsandbytes_4("fp4", torch.float32, double=False),
        "int8": bitsandbytes_8(),
    }
    tensors = {f"{case}/{name}": tensor.contiguous() for case, parts in cases.items() for name, tensor in parts.items()}
    save_file(tensors, sys.argv[1])
    print(json.dumps({case: sorted(parts) for case, parts in cases.items()}, indent=1))


if __name__ == "__main__":
    main()
