"""Graphs are loaded, saved and cut without a weight passing through memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnx_ir as ir
import pytest
from tiny_graphs import bound, cut_parts, export_tiny, feeds, run, tiny_parts

from qairt.errors import GraphError
from qairt.graph import files


def places(path: Path) -> dict[str, tuple[str, int, int]]:
    """File, offset and bytes of every weight that lies outside."""
    tensors = {name: value.const_value for name, value in files.load(path).graph.initializers.items()}
    return {
        name: (str(tensor.location), int(tensor.offset), int(tensor.length))
        for name, tensor in tensors.items()
        if isinstance(tensor, ir.ExternalTensor)
    }


def test_references_survive_binding_cutting_and_saving(tmp_path: Path):
    _, config, symbolic = export_tiny(tmp_path, "qwen2")
    whole = places(symbolic)
    path = bound(symbolic, 4)
    assert places(path) == whole
    parts = [places(part) for part in cut_parts(path, tiny_parts(config, 3))]
    assert {name: place for part in parts for name, place in part.items()} == whole
    assert sum(len(part) for part in parts) == len(whole)
    assert path.stat().st_size < 40_000


def test_onnxruntime_reads_weights_through_a_hard_link(tmp_path: Path):
    _, config, symbolic = export_tiny(tmp_path, "llama")
    part = cut_parts(bound(symbolic, 4), tiny_parts(config, 3))[0]
    weights = part.with_name("weights.bin")
    assert os.stat(weights).st_nlink > 1
    assert run(part, feeds(config, [1, 2, 3, 4]))["hidden_0"].shape == (1, 4, 64)


PEAK = """
import resource, sys
from pathlib import Path
from qairt.graph import files, split
from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.model.parts import plan_split
from qairt.graph.weights_file import TensorLocation
from qairt.model.config import DecoderConfig
from qairt.model.parameters import _graph_shapes

folder = Path(sys.argv[1])
config = DecoderConfig(
    family="llama", vocab_size=32000, hidden_size=4096, intermediate_size=11008, num_layers=30, num_heads=32,
    num_kv_heads=8, head_dim=128, rms_norm_eps=1e-5, rope_theta=10000.0,
)
places, end = {}, 0
for name, shape in _graph_shapes(config).items():
    size = 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
    places[name], end = TensorLocation(end, size, shape), end + size
with (folder / "weights.bin").open("wb") as file:
    file.truncate(end)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
files.save(build_decoder(config, places, folder / "weights.bin"), folder / "model.onnx")
files.save(bind(files.load(folder / "model.onnx"), ar=128, cl=4096), folder / "bound.onnx")
for part in plan_split(embedding_bytes=1, layer_bytes=[1] * 30, head_bytes=1, num_splits=4):
    name = f"part_{part.index}"
    files.save(split.cut(files.load(folder / "bound.onnx"), part, name=name), folder / f"{name}.onnx")
print(end, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the weights are a sparse file, and peak memory is in KiB there")
def test_a_large_model_is_built_bound_and_cut_in_little_memory(tmp_path: Path):
    done = subprocess.run([sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, check=True)
    weights, grown = map(int, done.stdout.split())
    assert weights > 20e9
    assert grown < 100e6
    assert all(path.stat().st_size < 500_000 for path in tmp_path.glob("*.onnx"))


def test_a_graph_is_not_saved_away_from_its_weights(tmp_path: Path):
    _, _, symbolic = export_tiny(tmp_path, "llama")
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "model.onnx"
    with pytest.raises(GraphError) as caught:
        files.save(files.load(symbolic), path)
    assert str(caught.value) == f"{path}: its weights file weights.bin is not beside it\n  link it there first"
    assert not path.exists()


@pytest.mark.parametrize("read", [files.load, files.external_files])
def test_what_is_missing_or_no_graph_is_named(tmp_path: Path, read):
    path = tmp_path / "model.onnx"
    with pytest.raises(GraphError, match=r"model\.onnx: the file does not exist\n"):
        read(path)
    path.write_bytes(b"not a graph")
    with pytest.raises(GraphError, match=r"model\.onnx: this is not an ONNX graph \(DecodeError\)\n  export it again"):
        read(path)
