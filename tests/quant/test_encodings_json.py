from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qairt.errors import QuantizationError
from qairt.quant.encodings import BlockScales, Encodings, per_tensor, range_encoding, symmetric_channels
from qairt.quant.encodings_json import read_encodings, read_encodings_of, write_encodings


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


def test_version_0_6_1_gives_the_same_back_or_is_not_written() -> None:
    """As the grid that blocks decompress to, a reader would quantize to 8 bits per channel: another model."""
    before = everything()
    for params in (before.params, {"rows": replace(before.params["a.weight"], axis=0)}):
        with pytest.raises(ValueError, match="^version 0.6.1 holds neither blocks nor channels of another axis$"):
            write_encodings(replace(before, params=params), "0.6.1")
    without = replace(before, params={"a.weight": before.params["a.weight"]})
    after = read_encodings(write_encodings(without, "0.6.1"))
    assert after.activations["hidden_0"].same_grid(before.activations["hidden_0"])
    assert after.params["a.weight"].same_grid(before.params["a.weight"])


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
        ("[]", "its top level is not a mapping"),
        ("null", "its top level is not a mapping"),
        ('{"version": null}', "its version is null"),
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


AGAIN = "export the encodings again, in AIMET's version 1.0.0"
INTEGERS = "quantize it to integers: 8 or 16 bits for activations, 4 or 8 for weights"
KINDS = "quantize it with PER_TENSOR, PER_CHANNEL or LPBQ"
LPBQ = {
    "enc_type": "LPBQ",
    "bw": 8,
    "is_sym": True,
    "offset": [-128],
    "block_size": 64,
    "compressed_bw": 4,
    "per_block_int_scale": [1, 16],
}


@pytest.mark.parametrize(
    ("change", "what", "remedy"),
    [
        ({"dtype": "FLOAT", "bw": 16}, "dtype FLOAT is not an integer type", INTEGERS),
        ({"enc_type": "PER_BLOCK"}, "enc_type PER_BLOCK has no counterpart on the NPU", KINDS),
        ({"offset": [0, 1], "enc_type": "PER_CHANNEL"}, "it has 1 scales and 2 offsets", AGAIN),
        ({"scale": [1, 1], "offset": [0, 0]}, "enc_type is PER_TENSOR, but it has 2 scales", AGAIN),
        ({"scale": [0.0]}, "scale is 0.0: it must be a positive number", AGAIN),
        ({"scale": [-0.5]}, "scale is -0.5: it must be a positive number", AGAIN),
        ({"scale": [float("nan")]}, "scale is nan: it must be a positive number", AGAIN),
        ({"scale": [1e-60]}, "scale is 1e-60: it must be a positive number", AGAIN),
        ({"scale": [True]}, "scale is True: it must be a number", AGAIN),
        ({"scale": ["0.5"]}, "scale is '0.5': it must be a number", AGAIN),
        ({"scale": [None]}, "scale is null: it must be a number", AGAIN),
        ({"scale": []}, "its encoding has no scale", AGAIN),
        ({"scale": None}, "its encoding has no scale", AGAIN),
        ({"offset": None}, "its encoding has no offset", AGAIN),
        ({"offset": [-1.5]}, "offset is -1.5: it must be an integer", AGAIN),
        ({"offset": [7]}, "offset is 7: with 8 bits it is -255 to 0", AGAIN),
        ({"offset": [-256]}, "offset is -256: with 8 bits it is -255 to 0", AGAIN),
        (
            {"is_sym": True, "offset": [-100]},
            "it is symmetric, but offset is -100: with 8 bits that is -128 (signed) or 0 (unsigned)",
            AGAIN,
        ),
        (
            {"enc_type": "PER_CHANNEL", "scale": [1, -1], "offset": [0, 0]},
            "scale[1] is -1: it must be a positive number",
            AGAIN,
        ),
        ({"enc_type": "PER_CHANNEL", "scale": [1, 1], "offset": [0, 3]}, "offset[1] is 3: with 8 bits it is ", AGAIN),
        ({"bw": "eight"}, "bw is 'eight': it must be an integer", AGAIN),
        ({"bw": 8.5}, "bw is 8.5: it must be an integer", AGAIN),
        ({"bw": 64}, "bw is 64: grids have 2 to 32 bits", AGAIN),
        ({"is_sym": "perhaps"}, "is_sym is 'perhaps': it must be true or false", AGAIN),
        ({"enc_type": "LPBQ"}, "its encoding has no compressed_bw", AGAIN),
        (LPBQ | {"is_sym": False}, "LPBQ weights are signed: is_sym must be true, and offset -2^(bw - 1)", AGAIN),
        (LPBQ | {"offset": [0]}, "LPBQ weights are signed: is_sym must be true, and offset -2^(bw - 1)", AGAIN),
        (
            LPBQ | {"per_block_int_scale": [1, 17]},
            "per_block_int_scale[1] is 17: it must be an integer from 1 to 16",
            AGAIN,
        ),
        (
            LPBQ | {"per_block_int_scale": [1, 1.5]},
            "per_block_int_scale[1] is 1.5: it must be an integer from 1 to 16",
            AGAIN,
        ),
        (
            LPBQ | {"scale": [1, 1], "offset": [-128, -128], "per_block_int_scale": [1, 2, 3]},
            "per_block_int_scale has 3 values, no multiple of its 2 channels",
            AGAIN,
        ),
    ],
)
def test_an_encoding_that_cannot_be_used_is_named_with_its_place(
    change: dict[str, Any], what: str, remedy: str
) -> None:
    document = {
        "version": "1.0.0",
        "activation_encodings": [GOOD | {"name": "y"}, GOOD | change],
        "param_encodings": [],
    }
    with pytest.raises(QuantizationError) as error:
        read_encodings(json.dumps(document), file="model.encodings")
    assert error.value.where == "model.encodings: activation_encodings[1], tensor x"
    assert error.value.what.startswith(what)
    assert error.value.remedy == remedy


CHANNEL = {"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "offset": -3, "scale": 0.5, "min": -1.5, "max": 126}
OLD = {"version": "0.6.1", "activation_encodings": {}}
NEW = {"name": "x", "output_dtype": "uint8", "y_scale": 0.5}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (OLD | {"param_encodings": {"x": []}}, "its encoding is not a list with one entry per channel"),
        (OLD | {"param_encodings": {"x": {"input": {}}}}, "its encoding is not a list with one entry per channel"),
        (OLD | {"param_encodings": {"x": [CHANNEL, CHANNEL | {"bitwidth": 4}]}}, "its channels differ in bitwidth"),
        (OLD | {"param_encodings": {"x": [CHANNEL, CHANNEL | {"scale": -1}]}}, "scale[1] is -1: it must be a positive"),
        (OLD | {"param_encodings": {"x": [CHANNEL | {"dtype": "float"}]}}, "dtype float is not an integer type"),
        (OLD | {"param_encodings": {"x": [{"bitwidth": 8, "dtype": "int", "offset": -3}]}}, "its encoding has no "),
        ({"version": "2.0.0", "encodings": [NEW | {"output_dtype": "float16"}]}, "output_dtype float16 is not an "),
        ({"version": "2.0.0", "encodings": [NEW | {"y_scale": -0.5}]}, "scale is -0.5: it must be a positive number"),
        ({"version": "2.0.0", "encodings": [NEW | {"y_zero_point": -1}]}, "offset is 1: with 8 bits it is -255 to 0"),
        ({"version": "2.0.0", "encodings": [NEW | {"y_scale": [1, 1]}]}, "its encoding has no axis"),
        (
            {"version": "2.0.0", "encodings": [NEW | {"y_scale": [1, 1, 1], "axis": 1, "y_zero_point": [0, 0]}]},
            "it has 3 scales and 2 zero points",
        ),
    ],
)
def test_the_same_faults_in_the_other_versions(document: dict[str, Any], message: str) -> None:
    with pytest.raises(QuantizationError) as error:
        read_encodings(json.dumps(document))
    assert error.value.what.startswith(message)
    assert "tensor x (" in str(error.value.where)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            json.dumps({"version": "1.0.0", "activation_encodings": [GOOD, GOOD], "param_encodings": []}),
            "tensor x (activation_encodings[1]): it has two encodings, the other one in activation_encodings[0]\n"
            "  keep the one that belongs to this graph",
        ),
        (
            json.dumps({"version": "1.0.0", "activation_encodings": [GOOD], "param_encodings": [GOOD]}),
            "tensor x (param_encodings[0]): it has two encodings, the other one in activation_encodings[0]\n"
            "  keep the one that belongs to this graph",
        ),
        (
            '{"activation_encodings": {"x": [], "x": []}, "param_encodings": {}}',
            "x: it stands twice in one mapping\n  keep the one that belongs to this graph",
        ),
    ],
)
def test_a_tensor_that_is_named_twice(text: str, message: str) -> None:
    with pytest.raises(QuantizationError) as error:
        read_encodings(text)
    assert str(error.value) == message


def one_grid(version: str, *, symmetric: bool, offset: int, bits: int | str = 8) -> str:
    """A file of one activation x, scale 0.5."""
    if version == "0.6.1":
        entry = CHANNEL | {"bitwidth": bits, "is_symmetric": str(symmetric), "offset": offset}
        return json.dumps(OLD | {"activation_encodings": {"x": [entry]}, "param_encodings": {}})
    entry = GOOD | {"bw": bits, "is_sym": symmetric, "offset": [offset]}
    return json.dumps({"version": version, "activation_encodings": [entry], "param_encodings": []})


@pytest.mark.parametrize("version", ["0.6.1", "1.0.0"])
@pytest.mark.parametrize(
    ("symmetric", "offset", "low", "high", "signed"),
    [
        (True, 0, 0, 127.5, False),  # unsigned symmetric
        (True, -128, -64, 63.5, True),
        (True, -127, -64, 63.5, True),  # strict symmetric: AIMET never uses the lowest integer
        (False, 0, 0, 127.5, False),
        (False, -128, -64, 63.5, False),
        (False, -255, -127.5, 0, False),
    ],
)
@pytest.mark.parametrize("bits", [8, "8"])
def test_what_an_offset_means(
    version: str, symmetric: bool, offset: int, low: float, high: float, signed: bool, bits: int | str
) -> None:
    grid = read_encodings(one_grid(version, symmetric=symmetric, offset=offset, bits=bits)).activations["x"]
    assert (grid.minimum[0], grid.maximum[0], grid.symmetric) == (low, high, signed)


def test_an_encoding_that_contradicts_itself_cannot_be_made() -> None:
    with pytest.raises(ValueError, match=r"^a symmetric encoding of 8 bits has offset -128$"):
        per_tensor(0.5, 0, 8, symmetric=True)


@pytest.mark.parametrize(
    "kind", ["ours", "ours, 0.6.1", "indented", "a name with a quotation mark", "a name with a brace"]
)
def test_those_of_some_tensors_are_those_of_the_whole_file(tmp_path: Path, kind: str) -> None:
    odd = {"a name with a quotation mark": 'x"y', "a name with a brace": "x}y"}.get(kind, "x.y")
    encodings = Encodings(
        {"x": range_encoding(-1, 1, 16), odd: range_encoding(-2, 1, 16), "z": range_encoding(0, 1, 8)},
        {
            "x.weight": symmetric_channels(np.array([0.1, 0.2], np.float32), 8, 1),
            "w": symmetric_channels(np.array([0.5], np.float32), 4, 1, BlockScales(2, np.array([[1], [16]], np.uint8))),
        },
    )
    path = tmp_path / "some.encodings"
    if kind == "ours, 0.6.1":
        del encodings.params["w"]
    text = write_encodings(encodings, "0.6.1" if kind == "ours, 0.6.1" else "1.0.0")
    path.write_text(json.dumps(json.loads(text), indent=1) if kind == "indented" else text)
    whole = read_encodings(path.read_text())
    for names in (["x"], [odd, "w", "missing"], ["x.weight", "z"], [], [*whole.activations, *whole.params]):
        found, wanted = read_encodings_of(path, names), whole.subset(names)
        assert write_encodings(found) == write_encodings(wanted), names


@pytest.mark.parametrize("length", [0, 80])
def test_a_file_that_holds_the_beginning_alone_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "some.encodings"
    path.write_text(write_encodings(Encodings({"x": range_encoding(-1, 1, 16)}))[:length])
    with pytest.raises(QuantizationError, match="not a valid encodings file"):
        read_encodings_of(path, ["x"])
