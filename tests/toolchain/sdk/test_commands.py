"""The arguments that the vendor's documentation and AIMET show."""

from __future__ import annotations

from qairt.graph.tensors import TensorSpec
from qairt.toolchain.sdk import commands

INPUTS = [TensorSpec(name=name, dtype="float32", shape=(1,)) for name in ("hidden_0", "attention_mask")]
LAYOUTS = "--source_model_input_layout hidden_0 NONTRIVIAL --source_model_input_layout attention_mask NONTRIVIAL"


def test_a_converter_keeps_the_weights_of_a_list_replaceable():
    found = commands.converter("a.onnx", "a.encodings", INPUTS, "a.dlc")
    assert " ".join(found) == f"--input_network a.onnx --quantization_overrides a.encodings {LAYOUTS} -o a.dlc"
    found = commands.converter("a.onnx", "a.encodings", INPUTS, "a.dlc", weight_list="names.txt")
    assert " ".join(found) == (
        f"--input_network a.onnx --quantization_overrides a.encodings --lora_weight_list names.txt {LAYOUTS} -o a.dlc"
    )


def test_a_quantizer_and_the_importer():
    found = commands.quantizer("a.dlc", "list.txt", "b.dlc", act_bitwidth=16, bias_bitwidth=32)
    assert " ".join(found) == (
        "--input_dlc a.dlc --input_list list.txt --output_dlc b.dlc --act_bitwidth 16 --bias_bitwidth 32"
    )
    found = commands.lora_importer("a.onnx", "b.dlc", "cases.yaml", "made")
    assert " ".join(found) == "--input_network a.onnx --input_dlc b.dlc --lora_config cases.yaml --output_dir made"
