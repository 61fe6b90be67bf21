"""Weights that the formats' own programs packed are read as they read them.

The file is made by tests/support/quantized_by_others.py.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from qairt.errors import ModelError
from qairt.model.safetensors_weights import SafetensorsWeights

BY_OTHERS = Path(__file__).with_name("by_others.safetensors")
STORED = {
    "gptq-2": "GPTQ, 2 bits, groups of 32",
    "gptq-3": "GPTQ, 3 bits, groups of 32",
    "gptq-4": "GPTQ, 4 bits, groups of 32",
    "gptq-8": "GPTQ, 8 bits, groups of 32",
    "gptq-4-order": "GPTQ, 4 bits, groups of 32",
    "awq": "AWQ, 4 bits, groups of 32",
    "pack-4": "compressed-tensors, 4 bits, groups of 32",
    "pack-4-asymmetric": "compressed-tensors, 4 bits, groups of 32",
    "pack-4-order": "compressed-tensors, 4 bits, groups of 32",
    "pack-3-channel": "compressed-tensors, 3 bits, per channel",
    "pack-8-channel": "compressed-tensors, 8 bits, per channel",
    "int-8-channel": "compressed-tensors, 8 bits, per channel",
    "int-8-tensor": "compressed-tensors, 8 bits, per tensor",
    "float-8-channel": "FP8, 8 bits, per channel",
    "float-8-tensor": "FP8, 8 bits, per tensor",
    "float-8-block": "FP8, 8 bits, in blocks",
    "nf4": "bitsandbytes nf4, 4 bits, blocks of 64",
    "nf4-double": "bitsandbytes nf4, 4 bits, blocks of 64",
    "fp4": "bitsandbytes fp4, 4 bits, blocks of 64",
    "int8": "bitsandbytes, 8 bits, per channel",
}


@cache
def tensors(case: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(f"{case}/"): tensor
        for name, tensor in load_file(BY_OTHERS).items()
        if name.startswith(f"{case}/")
    }


def write(
    directory: Path, case: str, changes: dict[str, torch.Tensor | None] | None = None, config: object = None
) -> np.ndarray:
    """A checkpoint of the case's one weight; what it is expected to be."""
    parts = {**tensors(case), **(changes or {})}
    expected = parts.pop("expected")
    save_file({name: part for name, part in parts.items() if part is not None}, directory / "model.safetensors")
    if config is None and case.startswith(("pack", "int-", "float")):
        config = {"quant_method": "compressed-tensors"}
    if config is not None:
        (directory / "config.json").write_text(json.dumps({"quantization_config": config}))
    return expected.float().numpy()


@pytest.mark.parametrize("case", STORED)
def test_values_are_those_of_the_program_that_wrote_them(case, tmp_path):
    expected = write(tmp_path, case)
    weights = SafetensorsWeights(tmp_path)
    assert weights.names() == ["m.weight"], "the packed tensors are not the model's"
    assert weights.shape("m.weight") == (32, 64)
    np.testing.assert_array_equal(weights.read("m.weight"), expected)
    assert str(weights.storage()) == STORED[case]
    assert weights.stored_bytes() == sum(part.nbytes for name, part in tensors(case).items() if name != "expected")


@pytest.mark.parametrize("case", STORED)
@pytest.mark.parametrize("rows", [slice(3, 17), slice(8, 16), slice(0, None, 5), slice(31, 99), slice(7, 7)])
def test_some_rows_are_the_same_rows_of_the_whole(case, rows, tmp_path):
    expected = write(tmp_path, case)
    np.testing.assert_array_equal(SafetensorsWeights(tmp_path).read("m.weight", rows), expected[rows])


@pytest.mark.parametrize("case", STORED)
def test_bands_of_a_large_matrix_join(case, tmp_path, monkeypatch):
    monkeypatch.setattr("qairt.model.quantized.packed._BAND", 64 * 5)
    expected = write(tmp_path, case)
    np.testing.assert_array_equal(SafetensorsWeights(tmp_path).read("m.weight"), expected)


def refused(directory: Path) -> str:
    with pytest.raises(ModelError) as raised:
        SafetensorsWeights(directory)
    return str(raised.value)


@pytest.mark.parametrize(
    ("case", "changes", "message"),
    [
        (
            "gptq-4",
            {"m.scales": None},
            "{model}: m.scales is missing beside m.qweight (GPTQ)",
        ),
        (
            "awq",
            {"m.qzeros": torch.zeros(2, 3, dtype=torch.int32)},
            "{model}: m.weight (AWQ): its scales or zero points do not fit its integers",
        ),
        (
            "gptq-4",
            {"m.g_idx": torch.zeros(32, dtype=torch.int32)},
            "{model}: m.weight (GPTQ): its scales [2, 32] or zero points do not fit its integers",
        ),
        (
            "pack-4-asymmetric",
            {"m.weight_shape": torch.tensor([32, 5])},
            "{config}: m.weight_packed has shape [32, 8]: its bits cannot be told",
        ),
        (
            "pack-4-asymmetric",
            {"m.weight_scale": torch.ones(16, 2)},
            "{model}: m.weight (compressed-tensors): its integers or scales do not fit its shape [32, 64]",
        ),
        (
            "float-8-block",
            {"m.weight_scale": torch.ones(3, 3)},
            "{model}: m.weight (FP8): scales of shape [3, 3] do not divide a weight of shape [32, 64]",
        ),
        (
            "int-8-channel",
            {"m.weight_zero_point": torch.zeros(3, 1, dtype=torch.int8)},
            "{model}: m.weight (compressed-tensors): zero points of shape [3, 1] for scales of shape [32, 1]",
        ),
        (
            "nf4-double",
            {"m.weight.nested_absmax": None},
            "{model}: m.weight (bitsandbytes nf4): its tensors do not fit its shape [32, 64]",
        ),
        (
            "nf4",
            {"m.weight.absmax": torch.ones(3)},
            "{model}: m.weight (bitsandbytes nf4): its tensors do not fit its shape [32, 64]",
        ),
        ("int8", {"m.SCB": torch.ones(3)}, "{model}: m.weight (bitsandbytes): SCB has shape [3]"),
        ("gptq-4", {"m.weight": torch.ones(32, 64)}, "{directory}: m.weight (GPTQ): it is stored in full too"),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused_before_any_is_read(case, changes, message, tmp_path):
    write(tmp_path, case, changes)
    at = {"model": tmp_path / "model.safetensors", "config": tmp_path / "config.json", "directory": tmp_path}
    assert refused(tmp_path).split("\n") == [
        message.format(**at),
        "  use the config.json that was published with the weights"
        if "cannot be told" in message
        else "  download the whole model again, with the config.json that was published with it",
    ]


def test_a_group_that_does_not_exist_is_refused_when_it_is_read(tmp_path):
    write(tmp_path, "gptq-4-order", {"m.g_idx": torch.full((64,), 2, dtype=torch.int32)})
    with pytest.raises(ModelError) as raised:
        SafetensorsWeights(tmp_path).read("m.weight")
    assert str(raised.value).startswith(
        f"{tmp_path / 'model.safetensors'}: m.weight (GPTQ): g_idx names a group beyond the 2 stored\n"
    )


def test_a_damaged_quantization_state(tmp_path):
    name = "m.weight.quant_state.bitsandbytes__nf4"
    write(tmp_path, "nf4", {name: torch.tensor(list(b'{"blocksize": 64'), dtype=torch.uint8)})
    assert refused(tmp_path) == (
        f"{tmp_path / 'model.safetensors'}: {name} is not a valid quantization state\n  download the whole model again"
    )


PUBLISHED = "\n  use the config.json that was published with the weights, or the float model"
READABLE = (
    "\n  use the float model it was made from, a GGUF file, or one of these formats: FP8, GPTQ, AWQ, "
    "compressed-tensors, bitsandbytes, MLX, MXFP4"
)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"quant_method": "hqq"}, "hqq" + READABLE),
        ({"quant_method": "modelopt"}, "modelopt" + READABLE),
        ({"bits": 4}, "unknown method" + READABLE),
        ({"quant_method": "awq"}, "m.qweight is a tensor of GPTQ, but quant_method is awq" + PUBLISHED),
    ],
)
def test_a_configuration_that_names_another_method(config, what, tmp_path):
    write(tmp_path, "gptq-4", config=config)
    scheme, remedy = what.split("\n")
    assert refused(tmp_path) == f"{tmp_path / 'config.json'}: the weights are stored quantized ({scheme})\n{remedy}"


def test_formats_that_are_mixed(tmp_path):
    others = {name.replace("m.", "n."): tensor for name, tensor in tensors("int8").items() if name != "expected"}
    write(tmp_path, "gptq-4", others)
    assert refused(tmp_path) == (
        f"{tmp_path}: the weights are stored quantized (formats are mixed: bitsandbytes (n.SCB) and GPTQ (m.qweight))"
        + PUBLISHED
    )


def test_widths_of_one_format_may_be_mixed(tmp_path):
    others = {name.replace("m.", "n."): tensor for name, tensor in tensors("pack-8-channel").items()}
    others.pop("expected")
    expected = write(tmp_path, "pack-4", others)
    weights = SafetensorsWeights(tmp_path)
    np.testing.assert_array_equal(weights.read("m.weight"), expected)
    np.testing.assert_array_equal(weights.read("n.weight"), tensors("pack-8-channel")["expected"].float().numpy())
    assert str(weights.storage()) == (
        "compressed-tensors, 4 bits, groups of 32 (1); compressed-tensors, 8 bits, per channel (1)"
    )


@pytest.mark.parametrize(
    ("extra", "scheme"),
    [
        ({"m.weight_packed": torch.ones(4, dtype=torch.uint8), "m.weight_global_scale": torch.ones(1)}, "NVFP4"),
        ({"m.W_q": torch.ones(4, dtype=torch.uint8)}, "HQQ"),
        ({"m.weight._data": torch.ones(4, dtype=torch.int8)}, "quanto"),
        ({"m.codebooks": torch.ones(4)}, "AQLM"),
        ({"m.weight.absmax": torch.ones(4)}, "bitsandbytes without its quant_state"),
    ],
)
def test_formats_that_cannot_be_read_are_named(extra, scheme, tmp_path):
    save_file(extra, tmp_path / "model.safetensors")
    name = next(name for name in extra if not name.endswith("packed"))
    assert refused(tmp_path) == f"{tmp_path}: the weights are stored quantized ({scheme}: {name})" + READABLE
