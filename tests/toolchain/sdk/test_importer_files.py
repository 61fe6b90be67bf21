"""The files for the LoRA importer, letter by letter as public documentation has them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load_file

from qairt.bundle.genie_config import GenieFiles, genie_config
from qairt.errors import ToolchainError
from qairt.graph.part_vectors import TestVectors
from qairt.model.config import DecoderConfig
from qairt.quant.encodings import Encodings, per_tensor
from qairt.quant.encodings_json import read_encodings
from qairt.toolchain.genie.dialog import check_config
from qairt.toolchain.sdk.importer_files import UseCase, genie_block, write_importer_files

LLAMA = DecoderConfig(
    family="llama",
    vocab_size=128,
    hidden_size=64,
    intermediate_size=64,
    num_layers=1,
    num_heads=1,
    num_kv_heads=1,
    head_dim=64,
    rms_norm_eps=1e-5,
    rope_theta=10000.0,
    bos_token_id=1,
    eos_token_ids=(2,),
)
CONFIG = """\
use_case:
- name: base
  model_name: part.onnx
  lora_weights: base.safetensors
  quant_overrides: base.encodings
  output_path: imported
- name: french
  model_name: part.onnx
  lora_weights: french.safetensors
  quant_overrides: french.encodings
  output_path: imported
"""
COMMANDS = [
    "qairt-converter --input_network part.onnx --quantization_overrides base.encodings --lora_weight_list"
    " lora_weight_list.txt --source_model_input_layout x NONTRIVIAL -o part.dlc",
    "qairt-quantizer --input_dlc part.dlc --input_list input_list.txt --output_dlc part_quantized.dlc"
    " --act_bitwidth 16 --bias_bitwidth 32",
    "qairt-lora-importer --input_network part.onnx --input_dlc part_quantized.dlc --lora_config lora_config.yaml"
    " --output_dir imported",
]


def graph(folder: Path) -> Path:
    """x @ A @ B."""
    shapes = {"a": (2, 1), "b": (1, 2)}
    weights = [helper.make_tensor(n, TensorProto.FLOAT, s, np.zeros(2, np.float32)) for n, s in shapes.items()]
    nodes = [helper.make_node("MatMul", ["x", "a"], ["low"]), helper.make_node("MatMul", ["low", "b"], ["y"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 2)) for name in ("x", "y")]
    onnx.save(
        helper.make_model(helper.make_graph(nodes, "part", values[:1], values[1:], weights)), folder / "part.onnx"
    )
    return folder / "part.onnx"


def use_cases() -> dict[str, UseCase]:
    found = {}
    for place, name in enumerate(("base", "french")):
        grid = per_tensor(0.5 + place, -128, 8, symmetric=True)
        encodings = Encodings(dict.fromkeys(("x", "low", "y"), grid), dict.fromkeys(("a", "b"), grid))
        weights = {"a": np.full((2, 1), place, np.float32), "b": np.full((1, 2), place, np.float32)}
        found[name] = UseCase(weights, encodings)
    return found


def write(folder: Path, vectors: dict[str, np.ndarray]) -> None:
    path = folder / "vectors.safetensors"
    TestVectors(vectors, {"y": np.zeros(1, np.float32)}).save(path)
    write_importer_files(graph(folder), path, use_cases(), base="base", act_bitwidth=16, bias_bitwidth=32)


def test_every_file(tmp_path: Path):
    write(tmp_path, {"x": np.array([[1.0, 2.0]], np.float32), "lora_0_q_proj_a": np.zeros((2, 1), np.float32)})
    assert (tmp_path / "lora_config.yaml").read_text() == CONFIG
    assert (tmp_path / "lora_weight_list.txt").read_text() == "a\nb\n"
    assert (tmp_path / "input_list.txt").read_text() == "x:=raw/x.raw\n"
    assert np.fromfile(tmp_path / "raw" / "x.raw", "<f4").tolist() == [1.0, 2.0]
    assert {name: value.tolist() for name, value in load_file(tmp_path / "french.safetensors").items()} == {
        "a": [[1.0], [1.0]],
        "b": [[1.0, 1.0]],
    }
    for name, use_case in use_cases().items():
        found = read_encodings((tmp_path / f"{name}.encodings").read_text())
        assert found.params["b"].same_grid(use_case.encodings.params["b"])
        assert set(found.activations) == {"x", "low", "y"}
    script = tmp_path / "import.sh"
    assert os.access(script, os.X_OK)
    assert [line for line in script.read_text().splitlines() if line.startswith("qairt-")] == COMMANDS
    assert "set -e\n" in script.read_text()
    assert f"#   {json.dumps(genie_block('part', ['base', 'french']))}\n" in script.read_text()
    assert (
        "# qnn-context-binary-generator then takes the DLC, and with --adapter_weight_config what the importer wrote"
        in (script.read_text())
    )


def test_vectors_of_another_graph_are_told(tmp_path: Path):
    with pytest.raises(ToolchainError) as caught:
        write(tmp_path, {"z": np.zeros((1, 2), np.float32)})
    assert caught.value.what == "the input x is missing in the test vectors; the graph takes shape (1, 2)"


def test_genie_accepts_the_block():
    """The oracle: the schema in the vendor's library."""
    config: dict[str, Any] = genie_config(LLAMA, context_size=32, files=GenieFiles(["part.bin"]))
    binary = config["dialog"]["engine"]["model"]["binary"]
    binary["lora"] = genie_block("part", ["base", "french"])
    assert check_config(config) == []
    binary["lora"]["adapters"][0]["sections"] = []
    assert any("sections" in told for told in check_config(config))
