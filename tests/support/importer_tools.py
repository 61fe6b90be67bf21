"""Stand-ins for the tools in `import.sh`: each reads its arguments and files as public documentation describes them, by
other means than ours, and the importer checks that every use case fits the graph. `python importer_tools.py TOOL …`.
"""

from __future__ import annotations

import argparse
import json
import stat
import sys
from pathlib import Path

import numpy as np
import onnx
import yaml
from safetensors import safe_open

TOOLS = ("qairt-converter", "qairt-quantizer", "qairt-lora-importer")


def install(folder: Path) -> Path:
    """The tools in a folder for PATH."""
    folder.mkdir()
    for name in TOOLS:
        (folder / name).write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} "$@"\n')
        (folder / name).chmod(0o755 | stat.S_IXUSR)
    return folder


def main(tool: str, words: list[str]) -> None:
    {"qairt-converter": convert, "qairt-quantizer": quantize, "qairt-lora-importer": lora_import}[tool](words)


def convert(words: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--input_network", "--quantization_overrides", "--lora_weight_list", "-o"):
        parser.add_argument(name, required=True)
    parser.add_argument("--source_model_input_layout", action="append", nargs=2)
    given = parser.parse_args(words)
    model = onnx.load(given.input_network)  # with its weights, which must be plain files
    weights = {each.name for each in model.graph.initializer}
    listed = Path(given.lora_weight_list).read_text().splitlines()
    assert listed
    assert set(listed) <= weights, set(listed) - weights
    inputs = [each.name for each in model.graph.input]
    assert not any(name.startswith("lora_") for name in inputs), inputs
    assert given.source_model_input_layout == [[name, "NONTRIVIAL"] for name in inputs]
    require_encodings(Path(given.quantization_overrides), model, listed)
    Path(given.o).write_bytes(b"float")


def quantize(words: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--input_dlc", "--input_list", "--output_dlc", "--act_bitwidth", "--bias_bitwidth"):
        parser.add_argument(name, required=True)
    given = parser.parse_args(words)
    assert Path(given.input_dlc).read_bytes() == b"float"
    (sample,) = Path(given.input_list).read_text().splitlines()
    assert all(Path(entry.split(":=")[1]).stat().st_size for entry in sample.split(" "))
    Path(given.output_dlc).write_bytes(b"quantized")


def lora_import(words: list[str]) -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in ("--input_network", "--input_dlc", "--lora_config", "--output_dir"):
        parser.add_argument(name, required=True)
    given = parser.parse_args(words)
    assert Path(given.input_dlc).read_bytes() == b"quantized"
    model = onnx.load(given.input_network, load_external_data=False)
    shapes = {each.name: list(each.dims) for each in model.graph.initializer}
    content = yaml.safe_load(Path(given.lora_config).read_text())
    assert list(content) == ["use_case"]
    made = []
    for use_case in content["use_case"]:
        assert set(use_case) == {"name", "model_name", "lora_weights", "quant_overrides", "output_path"}
        assert use_case["model_name"] == given.input_network
        with safe_open(use_case["lora_weights"], "numpy") as file:
            names = list(file.keys())
            for name in names:
                value = file.get_tensor(name)
                assert list(value.shape) == shapes[name], name
                assert value.dtype == np.float32
                assert np.isfinite(value).all()
        require_encodings(Path(use_case["quant_overrides"]), model, names)
        made.append({"name": use_case["name"], "weights": use_case["lora_weights"]})
    folder = Path(given.output_dir)
    folder.mkdir()
    (folder / "lora_output_files.yaml").write_text(yaml.safe_dump({"use_case": made}))


def require_encodings(path: Path, model: onnx.ModelProto, replaced: list[str]) -> None:
    """Every tensor of the graph has an encoding, and nothing else has; replaced weights have one of 8 bits."""
    content = json.loads(path.read_text())
    assert content["version"] == "1.0.0"
    activations = {entry["name"] for entry in content["activation_encodings"]}
    params = {entry["name"]: entry for entry in content["param_encodings"]}
    integers = onnx.TensorProto.INT64
    weights = {each.name for each in model.graph.initializer if each.data_type != integers}
    tensors = {name for node in model.graph.node for name in node.output} | {each.name for each in model.graph.input}
    assert activations == tensors, activations ^ tensors
    assert set(params) == weights, set(params) ^ weights
    assert all(params[name]["enc_type"] == "PER_TENSOR" and params[name]["bw"] == 8 for name in replaced)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
