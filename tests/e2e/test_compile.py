"""A model of two layers through the real compiler: DLCs, a weight-shared binary, and the emulator against the CPU."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import qnn_calls
import torch
from tiny_models import tiny_model

from qairt.errors import ToolchainError
from qairt.graph import files
from qairt.graph.bind import bind
from qairt.graph.build import build_decoder
from qairt.graph.mha2sha import to_single_heads
from qairt.graph.qdq.quantize import quantize_graph
from qairt.graph.qdq.signature import signature_of
from qairt.graph.session import open_session
from qairt.graph.split import cut
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.graph.weights_file import write_weights
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.parts import plan_split
from qairt.quant.config import TechniqueConfig
from qairt.quant.encodings import Encodings
from qairt.quant.quantize_model import quantize_model
from qairt.runtime.emulator import EmulatedPart
from qairt.runtime.parts import PartGraph
from qairt.toolchain.qnn.dlc import read_entry
from qairt.toolchain.qnn.handshake import handshake
from qairt.toolchain.qnn.inspection import inspect
from qairt.toolchain.soc import SOCS

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler

SOC = SOCS["SM8650"]
ARS, CL = (1, 8), 32
IDS = np.random.default_rng(0).integers(3, 120, 32)
TECHNIQUES = {
    "minmax": TechniqueConfig(technique="minmax"),
    "lpbq": TechniqueConfig(technique="lpbq", block_size=32),
    "minmax4": TechniqueConfig(technique="minmax", weight_bitwidth=4),
}
SIZES = {"hidden_size": 256, "intermediate_size": 384, "head_dim": 64}
"""Wide enough that one step of an 8-bit key is not a large part of all there is to compare."""
FAMILIES = {"llama": {}, "qwen2": {}, "qwen3": {"num_key_value_heads": 4}}


@dataclass
class Made:
    """Part 2 of 2 (all layers and lm_head) with single heads, by AR."""

    float_onnx: dict[int, Path]
    quantized: dict[int, Path]
    signature: dict[int, GraphSignature]
    encodings: Encodings
    embedding: np.ndarray
    """[vocab, hidden], float."""


def make(folder: Path, family: str, technique: str) -> Made:
    model = tiny_model(family, **SIZES, **FAMILIES[family])
    with torch.no_grad():  # 256 inputs of about 1 give an output of about 1, as in a trained model
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.mul_(0.3)
    model.save_pretrained(folder / "hf")
    config = describe_model(folder / "hf").config
    parameters = open_parameters(folder / "hf", config)
    encodings = quantize_model(parameters, [IDS], TECHNIQUES[technique]).encodings
    places = write_weights(parameters, folder / "weights.bin")
    part = plan_split(embedding_bytes=1, layer_bytes=[1, 1], head_bytes=1, num_splits=2)[1]
    made = Made({}, {}, {}, encodings, parameters.read("model.embed_tokens.weight"))
    for ar in ARS:
        name = f"ar{ar}-cl{CL}_2_of_2"
        whole = bind(build_decoder(config, places, folder / "weights.bin"), ar=ar, cl=CL)
        heads = to_single_heads(cut(whole, part, name=name), encodings, folder, f"heads{ar}.bin")
        made.float_onnx[ar] = folder / f"{name}.onnx"
        files.save(heads.model, made.float_onnx[ar])
        target = folder / f"quantized{ar}"
        target.mkdir()
        model = quantize_graph(heads.model, heads.encodings, target / "quantized_weights.bin")
        made.quantized[ar] = target / f"{name}.onnx"
        files.save(model, made.quantized[ar])
        made.signature[ar] = signature_of(model, heads.encodings, ar=ar)
        made.encodings = heads.encodings
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    kept: dict[tuple[str, str], Made] = {}

    def of(technique: str, family: str = "llama") -> Made:
        key = (family, technique)
        if key not in kept:
            kept[key] = make(tmp_path_factory.mktemp("part"), *key)
        return kept[key]

    return of


def link(made: Made, out: Path, ars: tuple[int, ...] = ARS, *, soc: str = "SM8650"):
    graphs = [(made.quantized[ar], f"ar{ar}_cl{CL}_2_of_2") for ar in ars]
    return qnn_calls.link(graphs, out, binary_name="weight_sharing_model_2_of_2.serialized.bin", soc=SOCS[soc])


def stored_inputs(part: Made, ar: int) -> dict[str, np.ndarray]:
    """Token embeddings, the angles of positions 20 …, half of a filled cache visible."""
    random = np.random.default_rng(1)
    angles = np.arange(20, 20 + ar)[:, None] * 1e4 ** -(np.arange(32) / 32)
    mask = np.triu(np.full((ar, CL), -1e4), CL - ar + 1)
    mask[:, : CL // 2] = -1e4
    values = {
        "hidden_0": part.embedding[IDS[:ar]],
        "attention_mask": mask,
        "position_ids_cos": np.cos(angles),
        "position_ids_sin": np.sin(angles),
    }
    feeds = {}
    for spec in part.signature[ar].inputs:
        if spec.name in values:
            stored = part.encodings.activations[spec.name].quantize(values[spec.name]).reshape(spec.shape)
        else:
            stored = np.clip(random.normal(128, 30, spec.shape), 0, 255)
        feeds[spec.name] = stored.astype(spec.dtype)
    return feeds


def real(spec: TensorSpec, stored: np.ndarray) -> np.ndarray:
    assert spec.scale is not None
    assert spec.offset is not None
    return (stored.astype(np.float64) + spec.offset) * spec.scale


def sqnr_db(wanted: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((wanted**2).sum() / max(((wanted - found) ** 2).sum(), 1e-30)))


@pytest.mark.parametrize(
    ("family", "technique", "least_db"),
    [
        ("llama", "minmax", 40),
        ("llama", "lpbq", 40),
        ("llama", "minmax4", 35),  # the NPU rounds 4-bit weights with one scale a channel more coarsely: 65 dB a MatMul
        ("qwen2", "lpbq", 35),
        ("qwen3", "minmax", 35),
    ],
)
@pytest.mark.parametrize("ar", ARS)
def test_the_emulator_agrees_with_the_cpu(made, family, technique, least_db, ar):
    part = made(technique, family)
    signature = part.signature[ar]
    feeds = stored_inputs(part, ar)
    session = open_session(part.quantized[ar])
    names = [spec.name for spec in signature.outputs]
    wanted = dict(zip(names, session.run(names, feeds), strict=True))
    emulated = EmulatedPart(PartGraph(part.quantized[ar], signature), soc=SOC)
    try:
        found = emulated.run(feeds)
    finally:
        emulated.close()
    agreement = {
        spec.name: sqnr_db(real(spec, wanted[spec.name]), real(spec, found[spec.name])) for spec in signature.outputs
    }
    steps = {name: int(np.abs(wanted[name].astype(int) - found[name]).max()) for name in names}
    print({name: f"{db:.0f} dB, at most {steps[name]} steps" for name, db in agreement.items()})
    assert all(db >= least_db for db in agreement.values()), agreement
    assert all(count <= 2 for name, count in steps.items() if name.startswith("past_")), steps


@pytest.mark.parametrize("technique", ["minmax", "lpbq"])
def test_one_binary_holds_both_graphs_as_asked_and_their_weights_once(tmp_path, made, technique):
    part = made(technique)
    both = link(part, tmp_path / "both")
    alone = link(part, tmp_path / "alone", (8,))
    assert both.binary.name == "weight_sharing_model_2_of_2.serialized.bin"
    assert [re.sub("^_+", "", graph.name) for graph in both.inspection.graphs] == ["ar1_cl32_2_of_2", "ar8_cl32_2_of_2"]
    assert both.inspection.soc_model == SOC.id
    for graph, ar in zip(both.inspection.graphs, ARS, strict=True):
        assert graph.inputs == part.signature[ar].inputs
        assert set(graph.outputs) == set(part.signature[ar].outputs)
    weights = (part.quantized[1].parent / "quantized_weights.bin").stat().st_size
    assert both.binary.stat().st_size - alone.binary.stat().st_size < weights / 2
    assert b"QNNExecutionProvider_QNN" not in both.binary.read_bytes()
    assert sorted(path.name for path in (tmp_path / "both").iterdir()) == [
        "ar1_cl32_2_of_2_ctx.onnx",
        "ar8_cl32_2_of_2_ctx.onnx",
        "weight_sharing_model_2_of_2.serialized.bin",
        "weight_sharing_model_2_of_2_generator.json",
        "weight_sharing_model_2_of_2_htp_config.json",
    ]


def test_a_wrapper_names_its_graph_and_its_binary(tmp_path, made):
    result = link(made("minmax"), tmp_path)
    for name, wrapper in result.wrappers.items():
        [node] = onnx.load(wrapper).graph.node
        attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        graph = attributes["partition_name"].decode()
        assert graph in {graph.name for graph in result.inspection.graphs}
        assert graph.endswith(name)
        assert attributes["ep_cache_context"].decode() == result.binary.name


def test_a_renamed_binary_runs_and_gives_what_the_compiled_graph_gives(tmp_path, made):
    part = made("lpbq")
    signature = part.signature[8]
    [wrapper] = link(part, tmp_path, (8,)).wrappers.values()
    feeds = stored_inputs(part, 8)
    results = []
    for path in (part.quantized[8], wrapper):
        emulated = EmulatedPart(PartGraph(path, signature), soc=SOC)
        try:
            results.append(emulated.run(feeds))
        finally:
            emulated.close()
    for spec in signature.outputs:
        np.testing.assert_array_equal(results[0][spec.name], results[1][spec.name])


def test_the_same_input_gives_the_same_bytes_elsewhere(tmp_path, made, monkeypatch):
    part = made("lpbq")
    if handshake()["fixed_addresses"] != "yes":
        pytest.skip("this kernel does not let a process fix its addresses")
    folders = [tmp_path / "a", tmp_path / "another" / "much" / "longer" / "place"]
    for folder in folders:
        link(part, folder)
        qnn_calls.convert(part.float_onnx[8], folder / "float.dlc")
        qnn_calls.quantize(part.quantized[8], folder / "quantized.dlc")
        monkeypatch.setenv("SOMETHING", "else" * 500)
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes(), path.name


def test_a_float_dlc_holds_the_graph_under_its_name(tmp_path, made):
    part = made("minmax")
    qnn_calls.convert(part.float_onnx[8], tmp_path / "a.dlc")
    found = inspect(tmp_path / "a.dlc")
    assert found.graphs[0].name.endswith("_ar8-cl32_2_of_2")
    assert found.sdk_version.startswith("2.")
    assert {spec.name for spec in (*part.signature[8].inputs, *part.signature[8].outputs)} <= found.names
    assert list(tmp_path.iterdir()) == [tmp_path / "a.dlc"]


def test_the_integers_of_a_weight_can_be_read_out_of_the_quantized_dlc(tmp_path, made):
    part = made("minmax")
    qnn_calls.quantize(part.quantized[8], tmp_path / "a.dlc")
    content = read_entry(tmp_path / "a.dlc", "model.params.bin")
    model = files.load(part.quantized[8])
    for name in ("model.layers.1.mlp.down_proj.weight", "lm_head.weight"):
        tensor = model.graph.initializers[name].const_value
        assert tensor is not None
        stored = tensor.numpy()
        grid = part.encodings.params[name].quantize(files_float(part, name)) - 128
        np.testing.assert_array_equal(stored, grid)
        assert np.ascontiguousarray(grid.T.astype(np.int8)).tobytes() in content


def files_float(part: Made, name: str) -> np.ndarray:
    tensor = files.load(part.float_onnx[8]).graph.initializers[name].const_value
    assert tensor is not None
    return np.asarray(tensor.numpy())


def test_a_float_graph_is_not_linked(tmp_path, made):
    with pytest.raises(ToolchainError) as caught:
        qnn_calls.link([(made("minmax").float_onnx[1], "ar1_cl32_2_of_2")], tmp_path, binary_name="a.bin", soc=SOC)
    assert str(caught.value).startswith("ar1-cl32_2_of_2.onnx: these inputs or outputs are not integers: hidden_0, ")


def test_what_the_npu_does_not_run_is_named_and_nothing_is_left(tmp_path, made):
    part = made("minmax")
    model = onnx.load(part.quantized[1])
    node = next(node for node in model.graph.node if node.op_type == "Softmax")
    node.op_type = "Hardmax"
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(ToolchainError, match=r"^a\.bin: "):
        qnn_calls.link([(tmp_path / "a.onnx", "ar1_cl32_2_of_2")], tmp_path / "out", binary_name="a.bin", soc=SOC)
    assert list((tmp_path / "out").iterdir()) == []
