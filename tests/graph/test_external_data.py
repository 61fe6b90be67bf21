"""A graph's weights come from its own folder, or from the hub's cache, and from nowhere else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from foreign_graphs import somebody_elses
from onnx import TensorProto, helper, numpy_helper

from qairt.errors import GraphError
from qairt.graph import files
from qairt.graph.external_data import read_whole
from qairt.graph.foreign.read import read_foreign
from qairt.graph.weights_file import read
from qairt.stages.export import _graph_files

VALUES = np.arange(16, dtype=np.float32)


def tensor(location: str, name: str = "w") -> TensorProto:
    made = numpy_helper.from_array(VALUES, name)
    onnx.external_data_helper.set_external_data(made, location, 0, VALUES.nbytes)
    made.ClearField("raw_data")
    return made


def graph(path: Path, location: str, place: str = "initializer") -> Path:
    """Adds external values to its input, which are held in `place`."""
    value = helper.make_tensor_value_info
    end = [value("y", TensorProto.FLOAT, [16])]
    adding = helper.make_node("Add", ["x", "w"], ["y"])
    constant = helper.make_node("Constant", [], ["w"], value=tensor(location))
    inputs, functions = [value("x", TensorProto.FLOAT, [16])], []
    match place:
        case "initializer":
            made = helper.make_graph([adding], "g", inputs, end, [tensor(location)])
        case "attribute":
            made = helper.make_graph([constant, adding], "g", inputs, end)
        case "subgraph":
            branch = helper.make_graph([helper.make_node("Identity", ["w"], ["z"])], "b", [], end, [tensor(location)])
            node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
            made = helper.make_graph([node], "g", [*inputs, value("c", TensorProto.BOOL, [])], end)
        case "function":
            functions = [
                helper.make_function("own", "F", ["x"], ["y"], [constant, adding], [helper.make_opsetid("", 21)])
            ]
            made = helper.make_graph([helper.make_node("F", ["x"], ["y"], domain="own")], "g", inputs, end)
    imports = [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(helper.make_model(made, functions=functions, opset_imports=imports).SerializeToString())
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_bytes(bytes(64))
    return path


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function"])
@pytest.mark.parametrize("location", ["/etc/passwd", "../secret", "x/../../secret", "C:\\secret", "..\\secret", ""])
@pytest.mark.parametrize("reader", [files.load, files.external_files, read_foreign, _graph_files])
def test_only_plain_names(tmp_path: Path, secret: Path, place: str, location: str, reader):
    path = graph(tmp_path / "model" / "model.onnx", location, place)
    with pytest.raises(GraphError) as raised:
        reader(path)
    assert str(raised.value) == (
        f"{path}: its weights are in {location!r}, which is not a plain name\n"
        "  put the weights file beside the graph, and export it with that file's name as the location"
    )


@pytest.mark.parametrize("linked", ["w.bin", "data"])
def test_links_that_leave_the_folder_are_refused(tmp_path: Path, secret: Path, linked: str):
    folder = tmp_path / "model"
    path = graph(folder / "model.onnx", "w.bin" if linked == "w.bin" else "data/secret")
    (folder / linked).symlink_to(secret if linked == "w.bin" else secret.parent)
    with pytest.raises(GraphError, match=f"a link that leaves its folder, to {secret}\n  put the weights file beside"):
        files.load(path)


@pytest.mark.parametrize("kind", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_refused(tmp_path: Path, kind):
    path = graph(tmp_path / "model.onnx", "w.bin")
    kind(tmp_path / "w.bin")
    with pytest.raises(GraphError, match="its weights are in 'w.bin', which is not a regular file\n"):
        files.load(path)


def hub(root: Path, source: Path, repo: str = "models--a--b") -> Path:
    """The files of a folder as the hub's client keeps them; returns the snapshot."""
    snapshot, blobs = root / repo / "snapshots" / "0123", root / repo / "blobs"
    for number, path in enumerate(sorted(source.rglob("*.*"))):
        blob, link = blobs / f"digest{number}", snapshot / path.relative_to(source)
        blob.parent.mkdir(parents=True, exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blob)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_the_hubs_cache_is_read(tmp_path: Path):
    _, _, theirs, _ = somebody_elses(tmp_path / "theirs")
    plain = tmp_path / "plain" / "onnx" / "model.onnx"
    plain.parent.mkdir(parents=True)
    onnx.save_model(onnx.load(theirs), plain, save_as_external_data=True, location="model.onnx_data", size_threshold=0)
    linked = hub(tmp_path / "hub", tmp_path / "plain") / "onnx" / "model.onnx"
    (one, other) = (read_foreign(path).graph.initializers for path in (plain, linked))
    assert list(one) == list(other)
    for name in one:
        np.testing.assert_array_equal(read(one[name].const_value), read(other[name].const_value))
    assert [path.name for path in _graph_files(linked)] == ["model.onnx", "model.onnx_data"]


def test_a_snapshot_does_not_reach_the_blobs_of_another_repository(tmp_path: Path):
    graph(tmp_path / "plain" / "model.onnx", "w.bin")
    VALUES.tofile(tmp_path / "plain" / "w.bin")
    snapshot = hub(tmp_path, tmp_path / "plain")
    other = hub(tmp_path, tmp_path / "plain", "models--c--d")
    files.load(snapshot / "model.onnx")
    (snapshot / "w.bin").unlink()
    (snapshot / "w.bin").symlink_to((other / "w.bin").resolve())
    with pytest.raises(GraphError, match="a link that leaves its folder"):
        files.load(snapshot / "model.onnx")


@pytest.mark.parametrize("location", ["w.bin", "data/w.bin", "./w.bin"])
def test_plain_names_below_the_folder_are_read(tmp_path: Path, location: str):
    path = graph(tmp_path / "model.onnx", location)
    (tmp_path / location).parent.mkdir(exist_ok=True)
    VALUES.tofile(tmp_path / location)
    os.link(tmp_path / location, tmp_path / "second name")
    held = files.load(path).graph.initializers["w"].const_value
    assert isinstance(held, ir.ExternalTensor)
    np.testing.assert_array_equal(read(held), VALUES)
    np.testing.assert_array_equal(read_whole(held).numpy(), VALUES)


def test_a_graph_that_is_a_link_has_its_weights_beside_what_it_leads_to(tmp_path: Path):
    graph(tmp_path / "plain" / "model.onnx", "w.data")
    VALUES.tofile(tmp_path / "plain" / "w.data")
    (tmp_path / "linked").mkdir()
    for name in ("model.onnx", "w.data"):
        (tmp_path / "linked" / name).symlink_to(tmp_path / "plain" / name)
    held = files.load(tmp_path / "linked" / "model.onnx").graph.initializers["w"].const_value
    np.testing.assert_array_equal(read(held), VALUES)
