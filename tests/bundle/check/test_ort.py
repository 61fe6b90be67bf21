"""`genai_config.json` and the wrappers against what the graphs are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from checked_bundle import BINARY, faults, said
from tiny_bundle import TinyModel, composed, edit

pytestmark = pytest.mark.compiler
DECODER = ("model", "decoder")


def test_a_whole_ort_bundle(ort_bundle: Path):
    assert faults(ort_bundle, "error", "warning") == []
    assert said(ort_bundle)["config"] == "genai_config.json: a pipeline of 8 graphs whose inputs all exist"
    room = "at most 24 of 32 tokens may be the prompt: onnxruntime-genai pads it to a multiple of 8"
    assert said(ort_bundle)["room"] == room


def test_a_bundle_for_the_processor(tiny: TinyModel, tmp_path: Path):
    folder = composed(tiny.onnx(), tmp_path / "cpu", "ort")
    assert faults(folder, "error", "warning") == []
    (folder / "part_2_of_3" / "quantized_2.bin").unlink()
    assert faults(folder) == [("files", "part_2_of_3/quantized_2.bin is missing")]


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("model", "context_length"), 64, "genai_config.json: model.context_length is 64, but the graphs have 32"),
        (
            (*DECODER, "sliding_window", "window_size"),
            4,
            "sliding_window.window_size is 4, but the graphs have 8",
        ),
        ((*DECODER, "head_size"), 64, "model.decoder.head_size is 64, but the graphs have 16"),
        ((*DECODER, "num_hidden_layers"), 3, "model.decoder.num_hidden_layers is 3, but the graphs have 2"),
        ((*DECODER, "outputs", "logits"), "scores", "no graph outputs the logits scores (run_on_prompt)"),
    ],
)
def test_a_genai_configuration_of_another_model(ort_bundle: Path, place: tuple[str, ...], value: Any, told: str):
    edit(ort_bundle / "genai_config.json", *place, value=value)
    assert any(told in text for subject, text in faults(ort_bundle) if subject == "config")


def test_a_pipeline_without_a_part(ort_bundle: Path):
    place = ort_bundle / "genai_config.json"
    content = json.loads(place.read_bytes())
    (stages,) = content["model"]["decoder"]["pipeline"]
    del stages["token_2_of_3"]
    place.write_text(json.dumps(content))
    assert faults(ort_bundle) == [
        ("config", "token_3_of_3 has an input hidden_1, which no earlier graph outputs (run_on_token_gen)")
    ]


def test_padding_that_ends_a_turn(ort_bundle: Path):
    edit(ort_bundle / "genai_config.json", "model", "pad_token_id", value=256)
    assert any(text.startswith("pad_token_id 256 also ends a turn") for _, text in faults(ort_bundle, "warning"))


def test_a_wrapper_of_another_binary(ort_bundle: Path):
    one, other = ort_bundle / "ar1_cl32_2_of_3_ctx.onnx", ort_bundle / "ar8_cl32_2_of_3_ctx.onnx"
    shutil.copyfile(other, one)
    found = [fault for fault in faults(ort_bundle) if fault[0] != "files"]
    assert found == [], "the same graph twice is what the wrapper says; the checksum told"
    assert ("files", f"{one.name} does not match SHA256SUMS: it is damaged") in faults(ort_bundle)
    wrapper = onnx.load(one)
    attribute = next(item for item in wrapper.graph.node[0].attribute if item.name == "partition_name")
    attribute.s = b"ar2_cl32_2_of_3"
    onnx.save(wrapper, one)
    told = f"{one.name} names the graph ar2_cl32_2_of_3, which is not in {BINARY.format(2)}"
    assert ("wrappers", told) in faults(ort_bundle)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("num_hidden_layers",), 10**9, "model.decoder.num_hidden_layers is 1000000000, but the graphs have 2"),
        (("num_hidden_layers",), "two", "model.decoder.num_hidden_layers is two, but the graphs have 2"),
        (
            ("inputs",),
            ["input_ids"],
            "prompt_1_of_3 has an input input_ids, which no earlier graph outputs (run_on_prompt)",
        ),
        (("outputs", "logits"), ["a"], "no graph outputs the logits ['a'] (run_on_prompt)"),
        (
            ("pipeline",),
            [{"one": {"filename": "logits.onnx", "inputs": 7}}],
            "one: inputs are none, but logits.onnx has",
        ),
    ],
)
def test_a_pipeline_of_any_content_is_looked_into(ort_bundle: Path, place: tuple[str, ...], value: Any, told: str):
    edit(ort_bundle / "genai_config.json", "model", "decoder", *place, value=value)
    assert any(told in text for _, text in faults(ort_bundle))


def test_lengths_that_another_tool_left_open_are_no_fault(ort_bundle: Path):
    """As in pipelines whose embedding and head are ordinary graphs of any length, joined by new names."""
    for name in ("metadata.yaml", "SHA256SUMS"):
        (ort_bundle / name).unlink()
    config = json.loads((ort_bundle / "genai_config.json").read_bytes())
    (stages,) = config["model"]["decoder"]["pipeline"]
    first = onnx.load(ort_bundle / stages["prompt_1_of_3"]["filename"])
    embedding = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["input_ids"], ["inputs_embeds"])],
        "embedding",
        [onnx.helper.make_tensor_value_info("input_ids", onnx.TensorProto.INT32, ["batch", "length"])],
        [onnx.helper.make_tensor_value_info("inputs_embeds", onnx.TensorProto.INT32, ["batch", "length"])],
    )
    onnx.save(onnx.helper.make_model(embedding), ort_bundle / "embedding.onnx")
    given = first.graph.output[0].name
    for called in ("prompt", "token"):
        stages[f"{called}_1_of_3"] |= {
            "filename": "embedding.onnx",
            "outputs": ["inputs_embeds"],
            "output_names_forwarder": {"inputs_embeds": given},
        }
    (ort_bundle / "genai_config.json").write_text(json.dumps(config))
    assert [text for subject, text in faults(ort_bundle) if subject == "config"] == []
