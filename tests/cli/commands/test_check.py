"""`qairt check`: what can be known before a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
import pytest
import yaml
from foreign_graphs import constant, first, node, somebody_elses
from tiny_recipe import write_recipe

from qairt.graph import files

INLINE = ("--executor", "inline")


def test_nothing_wrong(qairt):
    said = qairt("check", "toy.yaml")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "ok       recipe: toy.yaml: 4 stages in a valid order"
    assert lines[1].startswith("ok       dependencies: onnxruntime ")
    assert lines[1].endswith(", for backend CPU")
    assert lines[2] == "ok       artifacts: 0 of 5 items finished and intact"


def test_artifacts_of_finished_stages(qairt, place):
    qairt("run", "toy.yaml", *INLINE)
    assert qairt("check", "toy.yaml").out.splitlines()[-1] == (
        "ok       artifacts: 5 of 5 items finished and intact; `qairt cache verify` compares every byte"
    )
    (entry,) = place.glob("cache/pipeline_state/upper/upper_*")
    shutil.rmtree(entry)
    said = qairt("check", "toy.yaml")
    assert said.code == 0
    assert said.out.splitlines()[2:] == [
        "warning  artifacts: upper ar2: not built yet, although a run finished it",
        "           the next run rebuilds it",
        "ok       artifacts: 4 of 5 items finished and intact; `qairt cache verify` compares every byte",
    ]


def test_a_damaged_manifest_is_reported(qairt, place):
    qairt("run", "toy.yaml", *INLINE)
    manifest = place / "cache/pipeline_state/manifest.json"
    manifest.write_text("{")
    said = qairt("check", "toy.yaml")
    assert f"warning  artifacts: {manifest} is damaged; the next run rewrites it" in said.out


@pytest.fixture
def real(place):
    """A recipe for a tiny model, with every stage."""
    return write_recipe(place / "tiny")


def test_a_real_recipe(qairt, real):
    said = qairt("check", real)
    assert said.code == 0
    assert "ok       model_loading: architecture: llama, layers: 2, " in said.out
    assert "ok       quantization: technique: lpbq (lpbq_seqmse.yaml)" in said.out
    assert ", for SM8650 (HTP v75, 8 MB VTCM)" in said.out


def test_all_limits_of_a_chip_are_reported_together_before_any_work(qairt, real, place):
    said = qairt("check", real, "soc_details=chipset:SM8350", "--json")
    assert said.code == 2
    wrong = [(finding["subject"], finding["text"]) for finding in said.data["findings"] if finding["status"] == "error"]
    assert wrong == [
        (
            "quantization",
            f"{real}:7: stages.quantization.recipe: SM8350 (HTP v68) does not support "
            "block-quantized (LPBQ) weights: they need HTP v69",
        ),
        (
            "generate_context_binary",
            "command line: soc_details: SM8350 (HTP v68) cannot share weights between graphs: that needs HTP v73",
        ),
    ]
    assert said.data["ok"] is False
    assert not list(place.rglob("pipeline_state"))


def test_more_parts_than_layers_and_an_unknown_chip(qairt, real):
    said = qairt("check", real, "stages.split_model.num_splits=9")
    assert said.code in (1, 2)
    assert "ERROR    split_model: " in said.out
    said = qairt("check", real, "soc_details=chipset:SM1")
    assert said.code == 2
    assert "unknown chip 'SM1'" in said.out


@pytest.mark.parametrize("value", ["5", "[a]", "{a: 1}", "true", "2020-01-01"])
def test_a_model_that_is_no_name(qairt, real, value):
    said = qairt("check", real, f"model_id_or_path={value}")
    assert said.code == 2
    assert "model_id_or_path: input should be a valid string" in said.out + said.err
    assert "internal error" not in said.out + said.err


def test_a_model_that_is_not_there(qairt, real):
    said = qairt("check", real, "model_id_or_path=nowhere.gguf")
    assert said.code == 2
    assert "ERROR    model_loading: " in said.out
    assert said.out.count("nowhere.gguf was not found in") == 1, "told once, though several stages ask for the model"


def test_a_model_without_config(qairt, real):
    (real.parent / "model" / "config.json").unlink()
    said = qairt("check", real)
    assert said.code == 2
    assert "config.json" in said.out


def test_a_missing_toolchain_is_exit_code_3(qairt, real, monkeypatch):
    from importlib import metadata

    versions = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "2.1.0" if name == "onnxruntime-qnn" else versions(name)
    )  # as an old wheel says
    said = qairt("check", real)
    assert said.code == 3
    assert "onnxruntime-qnn 2.1.0 is too old, 2.7.0 is needed" in said.out
    assert "pip install onnxruntime-qnn==2.7.0" in said.out
    assert qairt("run", real).code == 3
    data = json.loads(qairt("plan", real, "--json").out)
    assert data["error"]["type"] == "ToolchainNotAvailable"


def test_what_a_model_leaves_unused_is_told(qairt, real):
    """In `check`, and again in `plan`, as text and as data."""
    config = real.parent / "model" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scale_emb": 12}))
    notice = "config.json: scale_emb means nothing to llama models and is not used"
    said = qairt("check", real)
    assert said.code == 0
    assert f"warning  model_loading: {notice}" in said.out
    assert notice in qairt("plan", real).err
    assert qairt("plan", real, "--json").data["notices"] == [notice]


def test_a_context_longer_than_the_model_was_made_for_is_told(qairt, real):
    said = qairt("check", real, "stages.prepare_exports.context_length=128")
    assert said.code == 0
    assert (
        "warning  prepare_exports: context_length 128 exceeds the 64 tokens that the model was made for, and it has no "
        "rotary scaling for more: expect bad text beyond them"
    ) in " ".join(said.out.split("\n           "))


@pytest.fixture
def external(place):
    """A recipe for somebody else's graph, and its encodings."""
    _, _, onnx, encodings = somebody_elses(place)
    export = {"onnx": str(onnx), "encodings": str(encodings)}
    stages = {
        "export": export,
        "prepare_exports": {"arn": [1, 6], "context_length": 40},
        "split_model": {"num_splits": 3},
    }
    (place / "recipe.yaml").write_text(yaml.safe_dump({"backend": "CPU", "stages": stages}, sort_keys=False))
    return place / "recipe.yaml"


def _scale_by_one(model: ir.Model) -> None:
    product = first(model, "MatMul")
    scaled = node(model, product, "Mul", [product.inputs[0], constant(model, 1.0, "one")], "scaled")
    product.replace_input_with(0, scaled)


def _fuse_attention(model: ir.Model) -> None:
    softmax = first(model, "Softmax")
    softmax.name, softmax.domain, softmax.op_type = "attention", "com.microsoft", "GroupQueryAttention"


def _pick_the_last_token(model: ir.Model) -> None:
    head = next(found for found in model.graph if found.name == "MatMul:logits")
    head.replace_input_with(0, node(model, head, "Gather", [head.inputs[0], constant(model, [5], "5")], "last", axis=1))


def _encode_twice(encodings: Path) -> None:
    content = json.loads(encodings.read_text())
    content["activation_encodings"][2]["name"] = content["activation_encodings"][0]["name"]
    encodings.write_text(json.dumps(content))


def _edit(onnx: Path, change: Callable[[ir.Model], None]) -> None:
    model = files.load(onnx)
    change(model)
    files.save(model, onnx)


def test_an_external_graph_is_adopted_and_its_encodings_are_read(qairt, external):
    _edit(external.parent / "foreign" / "theirs.onnx", _scale_by_one)
    said = qairt("check", external)
    assert said.code == 0
    warnings = [line for line in said.out.splitlines() if line.startswith("warning")]
    assert warnings == ["warning  export: constant one: its exact encoding, 16 bits, as the file has none"]


@pytest.mark.parametrize(
    ("change", "arguments", "finding"),
    [
        (
            _fuse_attention,
            (),
            (
                "export",
                "node attention (com.microsoft::GroupQueryAttention): com.microsoft::GroupQueryAttention is attention "
                "with its cache, fused by ONNX Runtime; these stages take ONNX's own operators",
                "export the model without ONNX Runtime's optimizations, as torch.onnx.export writes it",
            ),
        ),
        (
            lambda model: None,
            ("stages.export.io_names.logits=scores",),
            (
                "export",
                "command line: stages.export.io_names.logits: the graph has no output scores",
                "its outputs are logits, past_key_0_out, past_value_0_out, past_key_1_out, past_value_1_out",
            ),
        ),
        (
            _pick_the_last_token,
            (),
            (
                "prepare_exports",
                "node Gather:last (Gather): it cannot be rebound from AR 6 and CL 40: it indexes ar, and the index may "
                "count from the end",
                "export it with lengths that equal no layer size, such as AR 128 and CL 4096",
            ),
        ),
    ],
)
def test_faults_of_an_external_graph_come_before_any_work(
    qairt, external, change: Callable[[ir.Model], None], arguments: tuple[str, ...], finding: tuple[str, str, str]
):
    _edit(external.parent / "foreign" / "theirs.onnx", change)
    said = qairt("check", external, *arguments, "--json")
    assert said.code == 2
    (error,) = [each for each in said.data["findings"] if each["status"] == "error"]
    assert (error["subject"], error["text"], error["remedy"]) == finding


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ((), None),
        (("/model/hidden_2",), "/model/hidden_2 has no encoding"),
        (("/model/hidden_2", "past_key_0_in"), "past_key_0_in and 1 other tensor have no encoding"),
    ],
)
def test_tensors_without_an_encoding_come_before_any_work(qairt, external, left_out: tuple[str, ...], said: str | None):
    """By the names of the given graph: `hidden_2` is ours."""
    onnx = external.parent / "foreign" / "theirs.onnx"
    path = onnx.with_suffix(".encodings")
    content = json.loads(path.read_text())
    activations, graph = content["activation_encodings"], files.load(onnx).graph
    activations += [activations[0] | {"name": value.name} for value in graph.inputs if value.name != "input_ids"]
    params = [activations[0] | {"name": name} for name in graph.initializers]
    kept = [entry for entry in activations if entry["name"] not in left_out]
    path.write_text(json.dumps(content | {"activation_encodings": kept, "param_encodings": params}))
    stages = ("stages.mha_to_sha_conversion={}", "stages.quantize={}")
    errors = [
        each for each in qairt("check", external, *stages, "--json").data["findings"] if each["status"] == "error"
    ]
    remedy = "quantize needs one of every float tensor of the graph: add them to the file"
    wanted = [] if said is None else [("quantize", f"{external}:5: stages.export.encodings: {said}", remedy)]
    assert [(each["subject"], each["text"], each["remedy"]) for each in errors] == wanted


def test_faults_of_its_encodings_come_before_any_work_but_do_not_slow_a_plan(qairt, external):
    _encode_twice(external.parent / "foreign" / "theirs.encodings")
    said = qairt("check", external)
    assert said.code == 2
    assert " ".join(line.strip() for line in said.out.splitlines() if not line.startswith("ok")) == (
        "ERROR    export: theirs.encodings: activation_encodings[2], tensor /model/head.norm: it has two encodings, "
        "the other one in activation_encodings[0] keep the one that belongs to this graph"
    )
    assert qairt("plan", external).code == 0


def test_encodings_that_are_no_text_are_a_fault_and_a_mark_at_the_start_is_not(qairt, external):
    path = external.parent / "foreign" / "theirs.encodings"
    text = path.read_bytes()
    path.write_bytes(b"\xef\xbb\xbf" + text)
    assert qairt("check", external).code == 0
    path.write_bytes(b"\x90\x01" + text)
    said = qairt("check", external)
    assert said.code == 2
    assert "ERROR    export: theirs.encodings: not a valid encodings file: it is not JSON: " in said.out
