"""`check_bundle` on bundles that are right, and on each way one can be broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_bundle import TinyModel, composed, edit
from tokenizers import Tokenizer as FastTokenizer

from qairt.bundle.check import check_bundle
from qairt.errors import QairtError

pytestmark = pytest.mark.compiler
AGAIN = "copy the bundle again, or export it again: qairt export RECIPE DIR"
BINARY = "weight_sharing_model_{}_of_3.serialized.bin"
CONTEXT = ("dialog", "context")
ENGINE = ("dialog", "engine")
HTP = (*ENGINE, "backend", "QnnHtp")


def faults(folder: Path, *statuses: str) -> list[tuple[str, str]]:
    """What is wrong: subject and text."""
    wanted = statuses or ("error",)
    found = [finding for finding in check_bundle(folder) if finding.status in wanted]
    assert all(finding.remedy for finding in found)
    return [(finding.subject, finding.text) for finding in found]


def said(folder: Path) -> dict[str, str]:
    return {finding.subject: finding.text for finding in check_bundle(folder) if finding.status == "ok"}


def test_a_whole_bundle(genie_bundle: Path):
    assert faults(genie_bundle, "error", "warning") == []
    found = said(genie_bundle)
    assert found["files"] == "11 files as SHA256SUMS says"
    assert found["graphs"] == (
        "3 binaries for SM8650, 6 graphs: AR 1, 8, context 32; each part takes what the one before gives"
    )
    assert found["config"] == "genie_config.json suits the graphs and the model"
    assert found["tokenizer"] == "257 tokens, a text ends with '<|end|>'"
    assert found["genie"].startswith(
        f"Genie takes the configuration; the binaries are not loaded here, for {BINARY.format(1)} holds 2 graphs, and "
        "loading such a binary on x86 ends the vendor's process. What stands in for it: `qairt generate RECIPE PROMPT "
        "--target genie` and `qairt verify RECIPE`"
    )


def test_genie_loads_binaries_of_one_graph(one_graph_bundle: Path):
    assert faults(one_graph_bundle, "error", "warning") == []
    assert said(one_graph_bundle)["genie"] == "Genie takes the configuration, and loaded all binaries"


def test_a_whole_ort_bundle(ort_bundle: Path):
    assert faults(ort_bundle, "error", "warning") == []
    assert said(ort_bundle)["config"] == "genai_config.json: 8 graphs in a pipeline, each takes what is there"


def test_a_bundle_for_the_processor(tiny: TinyModel, tmp_path: Path):
    folder = composed(tiny.onnx(), tmp_path / "cpu", "ort")
    assert faults(folder, "error", "warning") == []
    (folder / "part_2_of_3" / "quantized_2.bin").unlink()
    assert faults(folder) == [("files", "part_2_of_3/quantized_2.bin is missing")]


@pytest.mark.parametrize("form", ["genie", "ort"])
def test_another_tools_bundle_is_compared_with_itself(form: str, request: pytest.FixtureRequest):
    folder = request.getfixturevalue("one_graph_bundle" if form == "genie" else "ort_bundle")
    for name in ("metadata.yaml", "SHA256SUMS", "run_genie.sh", "run_ort.py", "chat_template.jinja"):
        (folder / name).unlink(missing_ok=True)
    assert faults(folder, "error", "warning") == []
    found = said(folder)
    assert "there is no SHA256SUMS to compare with" in found["files"]
    assert found["graphs"].startswith("3 binaries for SM8650")
    (folder / BINARY.format(2)).unlink()
    assert ("files", f"{BINARY.format(2)} is missing") in faults(folder) or form == "ort"
    assert faults(folder)


def test_paths_of_the_device_stand_for_files_of_that_name(one_graph_bundle: Path):
    place = one_graph_bundle / "genie_config.json"
    names = [f"/data/local/tmp/b/{BINARY.format(part)}" for part in (1, 2, 3)]
    edit(place, *ENGINE, "model", "binary", "ctx-bins", value=names)
    edit(place, *ENGINE, "backend", "extensions", value="/data/local/tmp/b/htp_backend_ext_config.json")
    edit(place, "dialog", "tokenizer", "path", value="/data/local/tmp/b/tokenizer.json")
    assert faults(one_graph_bundle) == []
    assert said(one_graph_bundle)["genie"] == "Genie takes the configuration, and loaded all binaries"


def test_a_missing_file(genie_bundle: Path):
    (genie_bundle / BINARY.format(2)).unlink()
    (genie_bundle / "htp_backend_ext_config.json").unlink()
    assert faults(genie_bundle) == [
        ("files", "htp_backend_ext_config.json is missing"),
        ("files", f"{BINARY.format(2)} is missing"),
    ]


def test_a_changed_byte(genie_bundle: Path):
    path = genie_bundle / BINARY.format(2)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert faults(genie_bundle)[0] == ("files", f"{BINARY.format(2)} is not what SHA256SUMS says: it is damaged")


def test_a_cut_binary(genie_bundle: Path):
    path = genie_bundle / BINARY.format(2)
    path.write_bytes(path.read_bytes()[:5000])
    assert [subject for subject, _ in faults(genie_bundle)] == ["files", "binaries"]
    assert f"{BINARY.format(2)}: it cannot be read as a context binary" in faults(genie_bundle)[1][1]


def test_an_edited_configuration_is_no_fault(genie_bundle: Path):
    edit(genie_bundle / "genie_config.json", *HTP, "cpu-mask", value="0xff")
    assert faults(genie_bundle) == []
    assert faults(genie_bundle, "warning") == [("files", "genie_config.json was changed after the export")]


def test_binaries_out_of_order(genie_bundle: Path):
    order = [BINARY.format(part) for part in (2, 1, 3)]
    edit(genie_bundle / "genie_config.json", *ENGINE, "model", "binary", "ctx-bins", value=order)
    (found,) = [finding for finding in check_bundle(genie_bundle) if finding.status == "error"]
    assert (found.subject, found.text) == ("binaries", "the parts are out of order: 2, 1, 3")
    assert found.remedy == f"name them in ctx-bins as {', '.join(BINARY.format(part) for part in (1, 2, 3))}"


def test_a_part_that_is_not_named(genie_bundle: Path):
    order = [BINARY.format(part) for part in (1, 3)]
    edit(genie_bundle / "genie_config.json", *ENGINE, "model", "binary", "ctx-bins", value=order)
    assert ("binaries", "AR 1 and context 32 have the parts 1, 3 of 3") in faults(genie_bundle)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ((*CONTEXT, "size"), 64, "context.size is 64, but the longest context of the graphs is 32"),
        ((*CONTEXT, "n-vocab"), 257, "context.n-vocab is 257, but the tokens that logits score is 260"),
        ((*HTP, "kv-dim"), 128, "engine.backend.QnnHtp.kv-dim is 128, but the size of a head's keys is 16"),
        ((*HTP, "pos-id-dim"), 64, "engine.backend.QnnHtp.pos-id-dim is 64, but the angles of a position is 8"),
        ((*HTP, "rope-theta"), 500000.0, "engine.backend.QnnHtp.rope-theta is 500000.0, the model's is 10000.0"),
        ((*CONTEXT, "eos-token"), [256, 7], "context.eos-token is [256, 7], the model's is 256"),
    ],
)
def test_a_configuration_of_another_model(genie_bundle: Path, place: tuple[str, ...], value: Any, told: str):
    edit(genie_bundle / "genie_config.json", *place, value=value)
    assert ("config", f"genie_config.json: {told}") in faults(genie_bundle)


def test_genies_own_words_about_a_bad_configuration(genie_bundle: Path):
    edit(genie_bundle / "genie_config.json", *ENGINE, "n-threads", value=None)
    edit(genie_bundle / "genie_config.json", "dialog", "colour", value="blue")
    told = [text for subject, text in faults(genie_bundle) if subject == "genie"]
    assert any("n-threads" in text for text in told)
    assert all(text.startswith("Genie: ") for text in told)


def test_genies_own_words_about_a_whole(one_graph_bundle: Path):
    """It loads the binaries, and misses in them what the configuration promises."""
    place = one_graph_bundle / "genie_config.json"
    edit(place, *ENGINE, "model", "binary", "ctx-bins", value=[BINARY.format(2), BINARY.format(3)])
    told = [text for subject, text in faults(one_graph_bundle) if subject == "genie"]
    assert any(text.endswith("ar1_cl32_2_of_3 : input_ids - Tensor not found") for text in told)
    assert not any("affinity" in text for text in told), "a remark about this machine"


def test_another_chip(genie_bundle: Path):
    place = genie_bundle / "htp_backend_ext_config.json"
    told = json.loads(place.read_bytes())
    told["devices"][0] |= {"soc_model": 69, "dsp_arch": "v79"}
    told["context"]["weight_sharing_enabled"] = False
    place.write_text(json.dumps(told))
    name = place.name
    assert faults(genie_bundle) == [
        ("chip", f"the binaries are for SM8650 (57), {name} says SM8750 (69)"),
        ("chip", f"{name} says dsp_arch v79, SM8650 has v75"),
        ("chip", f"{name} says weight_sharing_enabled false, {BINARY.format(1)} holds several graphs"),
    ]


def test_a_binary_too_large_for_the_chip(genie_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qairt.bundle.check_graphs.CONTEXT_BYTES", 1000)
    found = faults(genie_bundle)
    assert [subject for subject, _ in found] == ["binaries"] * 3
    assert found[0][1].endswith("kB, the NPU takes 1 kB at once")


def test_metadata_of_another_compilation(genie_bundle: Path):
    def change(content: dict[str, Any]) -> None:
        content["soc"] |= {"name": "SM8750", "id": 69}
        content["graphs"][1]["inputs"][0]["shape"] = [1, 4]
        content["graphs"][2]["outputs"][-1]["scale"] = 0.5
        content["graphs"][5]["name"] = "ar16_cl32_3_of_3"

    rewrite(genie_bundle / "metadata.yaml", change)
    subjects = [subject for subject, _ in faults(genie_bundle)]
    assert subjects == ["files", "chip", "metadata", "metadata", "metadata", "metadata"]
    texts = [text for _, text in faults(genie_bundle)]
    assert texts[1] == "the binaries are for SM8650 (57), metadata.yaml says SM8750"
    assert texts[2].startswith("ar8_cl32_1_of_3: the input input_ids is name='input_ids' dtype='int32' shape=(1, 8)")
    assert texts[4] == f"{BINARY.format(3)} has no graph ar16_cl32_3_of_3"
    assert texts[5] == f"{BINARY.format(3)} holds the graph ar8_cl32_3_of_3, which metadata.yaml does not name"


def test_parts_of_two_calibrations(genie_bundle: Path, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory):
    """A part of another model between two of this: what it takes is not what the one before gives."""
    from tiny_bundle import make_tiny

    other = make_tiny(tmp_path_factory.mktemp("other"), seed=3).binaries(ars=(1, 8), name="other")
    shutil.copyfile(other.parts[1].binary, genie_bundle / BINARY.format(2))  # type: ignore[union-attr]
    (genie_bundle / "SHA256SUMS").unlink()
    (genie_bundle / "metadata.yaml").unlink()
    found = faults(genie_bundle)
    assert [subject for subject, _ in found] == ["graphs", "graphs"]
    assert found[0][1].startswith("ar1_cl32_2_of_3: it takes hidden_0 as uint16 [1, 1, 64] with scale ")


def test_a_tokenizer_of_another_vocabulary(genie_bundle: Path):
    tokenizer = FastTokenizer.from_file(str(genie_bundle / "tokenizer.json"))
    tokenizer.add_tokens([f"<extra {number}>" for number in range(10)])
    tokenizer.save(str(genie_bundle / "tokenizer.json"))
    (genie_bundle / "SHA256SUMS").unlink()
    assert ("tokenizer", "tokenizer.json has 267 tokens, the model 260: it is another model's") in faults(genie_bundle)


@pytest.mark.parametrize(
    ("token", "told"),
    [(259, "tokenizer.json has no text for the end token 259"), (65, "the end token 65 is the ordinary text ")],
)
def test_an_end_token_of_another_tokenizer(genie_bundle: Path, token: int, told: str):
    edit(genie_bundle / "genie_config.json", *CONTEXT, "eos-token", value=token)
    assert next(text for subject, text in faults(genie_bundle) if subject == "tokenizer").startswith(told)


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


DECODER = ("model", "decoder")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("model", "context_length"), 64, "genai_config.json: model.context_length is 64, the graphs have 32"),
        (
            (*DECODER, "sliding_window", "window_size"),
            4,
            "sliding_window.window_size is 4, the graphs have 8",
        ),
        ((*DECODER, "head_size"), 64, "model.decoder.head_size is 64, the graphs have 16"),
        ((*DECODER, "num_hidden_layers"), 3, "model.decoder.num_hidden_layers is 3, the graphs have 2"),
        ((*DECODER, "outputs", "logits"), "scores", "no graph gives scores, the logits (run_on_prompt)"),
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
        ("config", "token_3_of_3 takes hidden_1, which nothing before it gives (run_on_token_gen)")
    ]


def test_padding_that_ends_a_turn(ort_bundle: Path):
    edit(ort_bundle / "genai_config.json", "model", "pad_token_id", value=256)
    assert any(text.startswith("pad_token_id 256 also ends a turn") for _, text in faults(ort_bundle, "warning"))


def test_a_wrapper_of_another_binary(ort_bundle: Path):
    one, other = ort_bundle / "ar1_cl32_2_of_3_ctx.onnx", ort_bundle / "ar8_cl32_2_of_3_ctx.onnx"
    shutil.copyfile(other, one)
    found = [fault for fault in faults(ort_bundle) if fault[0] != "files"]
    assert found == [], "the same graph twice is what the wrapper says; the checksum told"
    assert ("files", f"{one.name} is not what SHA256SUMS says: it is damaged") in faults(ort_bundle)
    import onnx

    wrapper = onnx.load(one)
    attribute = next(item for item in wrapper.graph.node[0].attribute if item.name == "partition_name")
    attribute.s = b"ar2_cl32_2_of_3"
    onnx.save(wrapper, one)
    told = f"{one.name} names the graph ar2_cl32_2_of_3, which {BINARY.format(2)} does not hold"
    assert ("wrappers", told) in faults(ort_bundle)


def test_no_bundle(tmp_path: Path):
    with pytest.raises(QairtError, match="it is no bundle: it holds neither genie_config.json nor genai_config.json"):
        check_bundle(tmp_path)
    with pytest.raises(QairtError, match="there is no such folder"):
        check_bundle(tmp_path / "none")
    (tmp_path / "genie_config.json").write_text("{")
    with pytest.raises(QairtError, match="genie_config.json: it is not JSON"):
        check_bundle(tmp_path)


def test_a_bundle_that_lost_its_configuration(genie_bundle: Path):
    (genie_bundle / "genie_config.json").unlink()
    with pytest.raises(QairtError, match="genie_config.json is missing, which genie reads first"):
        check_bundle(genie_bundle)


def test_damaged_sums(genie_bundle: Path):
    (genie_bundle / "SHA256SUMS").write_text("no digest\n")
    assert ("files", "SHA256SUMS:1: it is not a digest and a name") in faults(genie_bundle)


WRONG = [
    ("genie_config.json", (*CONTEXT, "eos-token"), 10**30, "tokenizer.json has no text for the end token 1000"),
    ("metadata.yaml", ("model", "rope_scaling"), {}, "metadata.yaml: model.rope_scaling is not what an export writes"),
]


@pytest.mark.parametrize(("file", "place", "value", "told"), WRONG)
def test_a_value_that_no_export_writes_is_a_fault(
    one_graph_bundle: Path, file: str, place: tuple[str, ...], value: Any, told: str
):
    change(one_graph_bundle / file, place, value)
    assert any(text.startswith(told) for _, text in faults(one_graph_bundle))


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("graphs",), [], "metadata.yaml: graphs: Tuple should have at least 1 item"),
        (
            ("model", "bos_token_id"),
            -1,
            "metadata.yaml: model.bos_token_id: Input should be greater than or equal to 0",
        ),
        (("format",), "onnx", "metadata.yaml: format: Input should be 'genie' or 'ort'"),
    ],
)
def test_metadata_that_no_export_writes(one_graph_bundle: Path, place: tuple[str, ...], value: Any, told: str):
    change(one_graph_bundle / "metadata.yaml", place, value)
    with pytest.raises(QairtError) as caught:
        check_bundle(one_graph_bundle)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("num_hidden_layers",), 10**9, "model.decoder.num_hidden_layers is 1000000000, the graphs have 2"),
        (("num_hidden_layers",), "two", "model.decoder.num_hidden_layers is two, the graphs have 2"),
        (("inputs",), ["input_ids"], "prompt_1_of_3 takes input_ids, which nothing before it gives (run_on_prompt)"),
        (("outputs", "logits"), ["a"], "no graph gives ['a'], the logits (run_on_prompt)"),
        (("pipeline",), [{"one": {"filename": "logits.onnx", "inputs": 7}}], "one: inputs are none, logits.onnx has"),
    ],
)
def test_a_pipeline_of_any_content_is_looked_into(ort_bundle: Path, place: tuple[str, ...], value: Any, told: str):
    edit(ort_bundle / "genai_config.json", "model", "decoder", *place, value=value)
    assert any(told in text for _, text in faults(ort_bundle))


def test_damaged_sums_hide_no_missing_file(genie_bundle: Path):
    (genie_bundle / "SHA256SUMS").write_text("nothing\n")
    (genie_bundle / BINARY.format(2)).unlink()
    assert faults(genie_bundle) == [
        ("files", f"{BINARY.format(2)} is missing"),
        ("files", "SHA256SUMS:1: it is not a digest and a name"),
    ]


def test_a_script_without_the_template_is_told(genie_bundle: Path):
    (genie_bundle / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    told = [text for subject, text in faults(genie_bundle, "warning") if subject == "prompt"]
    assert len(told) == 1
    assert told[0].startswith("run_genie.sh: The model's chat template is more than text around the user's words")


def change(path: Path, place: tuple[str, ...], value: Any) -> None:
    """Set a value deep in a JSON or YAML file."""
    content = yaml.safe_load(path.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
