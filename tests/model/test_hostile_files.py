"""Model files that are damaged on purpose: each is one `ModelError` that names the file, at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import save_tiny, tiny_model, write_tiny_gguf

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.tokenizer import Tokenizer

AGAIN = "\n  download or copy it again"
PUBLISHED = "\n  use the config.json that was published with the weights"


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as raised:
        describe_model(path)
    return str(raised.value)


def safetensors_file(header: object, data: bytes = bytes(64), length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(begin: object, end: object, shape: object = (4,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


INVALID = "not a safetensors file: its header is not valid"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (safetensors_file(b"[" * 10_000), INVALID),
        (safetensors_file({"a": {"shape": []}}), INVALID),
        (safetensors_file({"a": entry(-16, 0)}), INVALID),
        (safetensors_file({"a": entry(16, 0)}), INVALID),
        (safetensors_file({"a": entry(0, 1e400)}), INVALID),
        (safetensors_file({"a": entry(0, 16, shape=[-2, -2])}), INVALID),
        (safetensors_file({"a": entry(0, 16, shape=[4.0])}), INVALID),
        (safetensors_file({"a": entry(0, 16), "b": entry(8, 24)}), "the tensors a and b overlap"),
        (
            safetensors_file({"a": entry(0, 16, shape=[2**62])}),
            "the safetensors header gives a 16 bytes for shape [4611686018427387904]",
        ),
        (
            safetensors_file({"a": entry(2**62, 2**62 + 16)}),
            "the safetensors file is truncated: it has 169 bytes, expected 4,611,686,018,427,388,025 bytes",
        ),
        (
            safetensors_file(b"{}", length=2**63),
            "the safetensors file is truncated: it has 74 bytes, expected 9,223,372,036,854,775,816 bytes of header",
        ),
    ],
    ids=itertools.count(),
)
def test_safetensors(content: bytes, what: str, tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    file = tmp_path / "model.safetensors"
    file.write_bytes(content)
    assert refused(tmp_path) == f"{file}: {what}{AGAIN}"


@pytest.mark.parametrize("shard", ["../secret", "/etc/passwd", "", 3, None, ["a"], {"a": "b"}])
def test_an_index_names_files_beside_it_only(shard: object, tmp_path: Path) -> None:
    save_tiny(tmp_path / "model", "llama")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "secret")
    index = tmp_path / "model" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    assert refused(tmp_path / "model") == f"{index}: not a shard index: it has no valid weight_map{AGAIN}"


def gguf_file(*, tensors: int = 0, fields: int = 1, field: bytes = b"", tensor: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, fields) + field + tensor + bytes(256)


def string(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


def array(item_type: int, count: int, data: bytes = b"") -> bytes:
    return string(b"a") + struct.pack("<IIQ", 9, item_type, count) + data


CUT = "the GGUF file is truncated: it has {size} bytes, expected a complete header"
WEIGHT = string(b"w") + struct.pack("<IQIQ", 1, 8, 0, 0)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gguf_file(fields=2**63), "the GGUF header says that it has 9,223,372,036,854,775,808 fields"),
        (gguf_file(tensors=2**40), "the GGUF header says that it has 1,099,511,627,776 tensors"),
        (gguf_file(field=string(b"", 2**63)), CUT),
        (
            gguf_file(field=array(8, 2**62)),
            "the GGUF header says that it has 4,611,686,018,427,387,904 values in an array",
        ),
        (gguf_file(field=array(8, 1, string(b"", 2**63))), CUT),
        (gguf_file(field=array(8, 1, string(b"", 2**64 - 1))), CUT),
        (gguf_file(field=array(12, 1 << 20)), CUT),
        (gguf_file(field=array(9, 1)), "GGUF array of type 9 is not supported"),
        (
            gguf_file(fields=0, tensors=1, tensor=string(b"w") + struct.pack("<I", 2**31)),
            "the GGUF header says that tensor w has 2,147,483,648 dimensions",
        ),
        (gguf_file(fields=0, tensors=2, tensor=WEIGHT + WEIGHT.replace(b"w", b"v")), "the tensors v and w overlap"),
        (
            gguf_file(fields=0, tensors=1, tensor=string(b"w") + struct.pack("<IQQIQ", 2, 2**62, 2**62, 0, 0)),
            "the GGUF file is truncated: it has 321 bytes, expected"
            " 85,070,591,730,234,615,865,843,651,857,942,052,960 bytes",
        ),
    ],
    ids=itertools.count(),
)
def test_gguf(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    found = refused(path)
    assert found.startswith(f"{path}: {what.format(size=len(content))}\n  download ")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (
            {"num_hidden_layers": 10**9},
            "the configuration has 1,000,000,000 layers, more than there are weights (21)",
        ),
        (
            {"vocab_size": 10**12},
            "the weight model.embed_tokens.weight has shape [128, 64], the configuration requires [1000000000000, 64]",
        ),
        (
            {"intermediate_size": 10**12},
            "the weight model.layers.0.mlp.gate_proj.weight has shape [96, 64], the configuration requires"
            " [1000000000000, 64]",
        ),
        (
            {"num_attention_heads": 10**9, "num_key_value_heads": 10**9, "head_dim": 10**9},
            "the weight model.layers.0.self_attn.q_proj.weight has shape [64, 64], the configuration requires"
            " [1000000000000000000, 64]",
        ),
    ],
)
def test_absurd_sizes_are_compared_with_the_weights(changes: dict[str, object], what: str, tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    assert refused(tmp_path) == f"{tmp_path}: {what}{PUBLISHED}"


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "generation_config.json", "tokenizer.json"])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["fifo", "device"])
def test_a_fifo_or_a_device_is_not_waited_for(name: str, make: Callable[[Path], None], tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    (tmp_path / name).unlink(missing_ok=True)
    make(tmp_path / name)
    if name == "generation_config.json":
        assert describe_model(tmp_path).config.num_layers == 2
        return
    read = Tokenizer.open if name == "tokenizer.json" else describe_model
    with pytest.raises(ModelError) as raised:
        read(tmp_path)
    assert str(tmp_path) in str(raised.value.where)
    assert raised.value.remedy


# Any damage


@cache
def whole(kind: str) -> dict[str, bytes]:
    """The files of a tiny model."""
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        if kind == "gguf":
            write_tiny_gguf(Path(made) / "m.gguf", tiny_model("llama"))
        else:
            save_tiny(Path(made), "llama")
        return {path.name: path.read_bytes() for path in Path(made).iterdir()}


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
KEYS = sorted(json.loads(whole("hf")["config.json"]))


@given(changes=st.dictionaries(st.sampled_from(KEYS), ANY, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_configuration_is_read_or_refused(
    changes: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    for name, content in whole("hf").items():
        (folder / name).write_bytes(content)
    (folder / "config.json").write_text(json.dumps(json.loads(whole("hf")["config.json"]) | changes))
    read_or_refuse(folder)


@given(
    kind=st.sampled_from(["gguf", "hf"]),
    at=st.integers(0, 1 << 30),
    written=st.binary(min_size=1, max_size=9),
)
@settings(max_examples=120, deadline=None)
def test_any_damage_is_read_or_refused(
    kind: str, at: int, written: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    damaged = "m.gguf" if kind == "gguf" else "model.safetensors"
    for name, content in whole(kind).items():
        if name == damaged:
            at %= 2500  # in the header
            content = content[:at] + written + content[at + len(written) :]
        (folder / name).write_bytes(content)
    read_or_refuse(folder / damaged if kind == "gguf" else folder)


def read_or_refuse(path: Path) -> None:
    with contextlib.suppress(ModelError):
        found = describe_model(path)
        assert all(np.prod(shape) < 1 << 40 for shape in found.tensors.values())
        Tokenizer.open(path)
