from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from qairt.errors import QuantizationError
from qairt.quant.encodings import BlockScales, Encodings, per_tensor, range_encoding, symmetric_channels
from qairt.quant.encodings_json import read_encodings, write_encodings


def everything() -> Encodings:
    random = np.random.default_rng(0)
    integers = random.integers(1, 17, (2, 3)).astype(np.uint8)
    return Encodings(
        {"hidden_0": range_encoding(-1.3, 2.7, 16), "past_key_0_in": range_encoding(-3, 3, 8, symmetric=True)},
        {
            "a.weight": symmetric_channels(random.random(3).astype(np.float32), 8, 1),
            "b.weight": symmetric_channels(random.random(3).astype(np.float32), 4, 1, BlockScales(64, integers)),
            "a.bias": range_encoding(-3, 2, 32, symmetric=True),
            "conv.weight": symmetric_channels(random.random(3).astype(np.float32), 8, 0),
        },
    )


def test_version_1_0_0_gives_the_same_back() -> None:
    before = everything()
    after = read_encodings(write_encodings(before))
    for found, expected in ((after.activations, before.activations), (after.params, before.params)):
        assert list(found) == list(expected)
        assert all(found[name].same_grid(expected[name]) for name in expected)
        assert all(found[name].symmetric == expected[name].symmetric for name in expected)


def test_version_0_6_1_gives_the_same_back_but_for_blocks() -> None:
    before = everything()
    after = read_encodings(write_encodings(before, "0.6.1"))
    assert after.activations["hidden_0"].same_grid(before.activations["hidden_0"])
    assert after.params["a.weight"].same_grid(before.params["a.weight"])
    # An LPBQ weight is 8-bit per channel there, and that grid holds every value of it.
    weight = np.random.default_rng(1).normal(0, 1, (128, 3)).astype(np.float32)
    held = before.params["b.weight"].nearest(weight)
    assert after.params["b.weight"].bitwidth == 8
    np.testing.assert_allclose(after.params["b.weight"].nearest(held), held, rtol=1e-6)


def test_version_1_0_0_as_aimet_writes_it() -> None:
    encodings = Encodings(
        {"x": per_tensor(0.5, -3, 16, symmetric=False)},
        {
            "w": symmetric_channels(
                np.array([0.1, 0.25], np.float32), 4, 1, BlockScales(64, np.array([[1, 2], [3, 16]], np.uint8))
            )
        },
    )
    assert json.loads(write_encodings(encodings)) == {
        "version": "1.0.0",
        "excluded_layers": [],
        "activation_encodings": [
            {
                "name": "x",
                "enc_type": "PER_TENSOR",
                "dtype": "INT",
                "bw": 16,
                "is_sym": False,
                "scale": [0.5],
                "offset": [-3],
            }
        ],
        "param_encodings": [
            {
                "name": "w",
                "enc_type": "LPBQ",
                "dtype": "INT",
                "bw": 8,
                "is_sym": True,
                "scale": [0.1, 0.25],
                "offset": [-128, -128],
                "block_size": 64,
                "compressed_bw": 4,
                "per_block_int_scale": [1, 3, 2, 16],
            }
        ],
    }


def test_version_0_6_1_as_aimet_writes_it() -> None:
    encodings = Encodings({"x": per_tensor(0.5, -3, 8, symmetric=False)})
    assert json.loads(write_encodings(encodings, "0.6.1"))["activation_encodings"] == {
        "x": [
            {
                "bitwidth": 8,
                "dtype": "int",
                "is_symmetric": "False",
                "max": 126.0,
                "min": -1.5,
                "offset": -3,
                "scale": 0.5,
            }
        ]
    }


def test_the_same_encodings_give_the_same_bytes() -> None:
    assert write_encodings(everything()) == write_encodings(everything())
    assert write_encodings(read_encodings(write_encodings(everything()))) == write_encodings(everything())


def test_an_unknown_version_to_write() -> None:
    with pytest.raises(ValueError, match=r"^encodings are written in version 0\.6\.1 or 1\.0\.0, not 2\.0\.0$"):
        write_encodings(Encodings(), "2.0.0")


def test_version_2_0_0_is_read() -> None:
    document = {
        "version": "2.0.0",
        "encodings": [
            {"name": "x", "output_dtype": "uint16", "y_scale": 0.5, "y_zero_point": 7},
            {"name": "key", "output_dtype": "int8", "y_scale": 0.25},
            {"name": "w.weight", "output_dtype": "int8", "y_scale": [0.5, 0.25], "axis": 1},
            {
                "name": "b.weight",
                "output_dtype": "int4",
                "axis": 0,
                "block_size": 64,
                "per_block_int_scale": [[1, 2, 3], [4, 5, 16]],
                "per_channel_float_scale": [0.1, 0.2, 0.3],
            },
        ],
    }
    found = read_encodings(json.dumps(document))
    assert list(found.activations) == ["x", "key"]
    assert found.activations["x"].same_grid(per_tensor(0.5, -7, 16, symmetric=False))
    assert found.activations["key"].same_grid(per_tensor(0.25, -128, 8, symmetric=True))
    assert found.activations["key"].symmetric
    assert found.params["w.weight"].same_grid(symmetric_channels(np.array([0.5, 0.25], np.float32), 8, 1))
    blocks = BlockScales(64, np.array([[1, 2, 3], [4, 5, 16]], np.uint8))
    assert found.params["b.weight"].same_grid(symmetric_channels(np.array([0.1, 0.2, 0.3], np.float32), 4, 1, blocks))


def test_version_2_0_0_takes_weights_from_the_graph_when_it_is_told() -> None:
    document = {"version": "2.0.0", "encodings": [{"name": "onnx::MatMul_7", "output_dtype": "int8", "y_scale": 0.5}]}
    assert list(read_encodings(json.dumps(document), initializers={"onnx::MatMul_7"}).params) == ["onnx::MatMul_7"]
    assert list(read_encodings(json.dumps(document)).activations) == ["onnx::MatMul_7"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a valid encodings file: it is not JSON: "),
        ("[]", "its top level is a list, not a mapping"),
        ('{"version": "3.0"}', "its version is '3.0'"),
        ('{"version": "1.0.0", "activation_encodings": []}', "it has no param_encodings"),
        (
            '{"version": "1.0.0", "activation_encodings": {}, "param_encodings": []}',
            "activation_encodings must be a list in version 1.0.0",
        ),
    ],
)
def test_what_is_not_an_encodings_file(text: str, message: str) -> None:
    with pytest.raises(QuantizationError) as error:
        read_encodings(text)
    assert message in str(error.value)


GOOD = {
    "name": "x",
    "enc_type": "PER_TENSOR",
    "dtype": "INT",
    "bw": 8,
    "is_sym": False,
    "scale": [0.5],
    "offset": [0],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dtype": "FLOAT"}, "x: its encoding is not valid: dtype FLOAT is not an integer type"),
        ({"enc_type": "PER_BLOCK"}, "x: its encoding is not valid: enc_type PER_BLOCK has no counterpart on the NPU"),
        ({"offset": [0, 1]}, "x: its encoding is not valid: 1 scales and 2 offsets"),
        ({"scale": [0.0]}, "x: its encoding is not valid: every scale must be a positive number"),
        ({"enc_type": "LPBQ"}, "x: its encoding has no block_size"),
    ],
)
def test_an_encoding_that_cannot_be_used_is_named(change: dict[str, Any], message: str) -> None:
    document = {"version": "1.0.0", "activation_encodings": [GOOD | change], "param_encodings": []}
    with pytest.raises(QuantizationError) as error:
        read_encodings(json.dumps(document))
    assert str(error.value).startswith(message)
    assert error.value.remedy == "export the encodings again, in AIMET's version 1.0.0"
