"""`check_bundle` on bundles that are right, and on files, binaries and tokenizers that are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from checked_bundle import BINARY, change, faults, rewrite, said
from tiny_bundle import TinyModel, edit, make_tiny
from tokenizers import Tokenizer as FastTokenizer

from qairt.bundle.check.bundle import check_bundle
from qairt.errors import QairtError

pytestmark = pytest.mark.compiler
CONTEXT = ("dialog", "context")
ENGINE = ("dialog", "engine")
HTP = (*ENGINE, "backend", "QnnHtp")


def test_a_whole_bundle(genie_bundle: Path):
    assert faults(genie_bundle, "error", "warning") == []
    found = said(genie_bundle)
    assert found["files"] == "11 files match SHA256SUMS"
    assert found["graphs"] == ("3 binaries for SM8650, 6 graphs: AR 1, 8, context 32; each part fits the one before")
    assert found["config"] == "genie_config.json matches the graphs and the model"
    assert found["tokenizer"] == "257 tokens, texts end with '<|end|>'"
    assert found["genie"] == (
        "Genie accepts the configuration; the binaries are not loaded here because "
        f"{BINARY.format(1)} holds 2 graphs: on "
        "x86, loading such a binary crashes the vendor's libraries. Instead, `qairt generate RECIPE PROMPT --target "
        "genie` and `qairt verify RECIPE` load the same quantized parts as binaries of one graph each"
    )


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
    assert faults(genie_bundle)[0] == ("files", f"{BINARY.format(2)} does not match SHA256SUMS: it is damaged")


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
    assert found.remedy == f"list them in ctx-bins as {', '.join(BINARY.format(part) for part in (1, 2, 3))}"


def test_a_part_that_is_not_named(genie_bundle: Path):
    order = [BINARY.format(part) for part in (1, 3)]
    edit(genie_bundle / "genie_config.json", *ENGINE, "model", "binary", "ctx-bins", value=order)
    assert ("binaries", "AR 1 with context 32 has parts 1, 3 of 3") in faults(genie_bundle)


def test_another_chip(genie_bundle: Path):
    place = genie_bundle / "htp_backend_ext_config.json"
    told = json.loads(place.read_bytes())
    told["devices"][0] |= {"soc_model": 69, "dsp_arch": "v79"}
    told["context"]["weight_sharing_enabled"] = False
    place.write_text(json.dumps(told))
    name = place.name
    assert faults(genie_bundle) == [
        ("chip", f"the binaries are for SM8650 (57), but {name} says SM8750 (69)"),
        ("chip", f"{name} says dsp_arch v79, but SM8650 has v75"),
        ("chip", f"{name} says weight_sharing_enabled false, but {BINARY.format(1)} holds several graphs"),
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"{", "it is not valid JSON: "), (b"\xff\xfe", "it is not valid JSON: "), (b"[]", "it is not a JSON object")],
)
def test_a_backend_configuration_that_cannot_be_read(genie_bundle: Path, content: bytes, what: str):
    (genie_bundle / "htp_backend_ext_config.json").write_bytes(content)
    (fault,) = [found for found in check_bundle(genie_bundle) if found.subject == "chip"]
    assert fault.status == "error"
    assert fault.text.startswith(f"htp_backend_ext_config.json: {what}")


def test_a_binary_too_large_for_the_chip(genie_bundle: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("qairt.bundle.check.graphs.CONTEXT_BYTES", 1000)
    found = faults(genie_bundle)
    assert [subject for subject, _ in found] == ["binaries"] * 3
    assert found[0][1].endswith("kB, the limit of the NPU is 1 kB")


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
    assert texts[1] == "the binaries are for SM8650 (57), but metadata.yaml says SM8750"
    assert texts[2].startswith("ar8_cl32_1_of_3: the input input_ids is name='input_ids' dtype='int32' shape=(1, 8)")
    assert texts[4] == f"{BINARY.format(3)} has no graph ar16_cl32_3_of_3"
    assert texts[5] == f"{BINARY.format(3)} holds a graph ar8_cl32_3_of_3, which is not in metadata.yaml"


def test_parts_of_two_calibrations(genie_bundle: Path, tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory):
    """A part of another model between two of this: what it takes is not what the one before gives."""
    other = make_tiny(tmp_path_factory.mktemp("other"), seed=3).binaries(ars=(1, 8), name="other")
    shutil.copyfile(other.parts[1].binary, genie_bundle / BINARY.format(2))  # type: ignore[union-attr]
    (genie_bundle / "SHA256SUMS").unlink()
    (genie_bundle / "metadata.yaml").unlink()
    found = faults(genie_bundle)
    assert [subject for subject, _ in found] == ["graphs", "graphs"]
    assert found[0][1].startswith("ar1_cl32_2_of_3: its input hidden_0 is uint16 [1, 1, 64] with scale ")


def test_a_tokenizer_of_another_vocabulary(genie_bundle: Path):
    tokenizer = FastTokenizer.from_file(str(genie_bundle / "tokenizer.json"))
    tokenizer.add_tokens([f"<extra {number}>" for number in range(10)])
    tokenizer.save(str(genie_bundle / "tokenizer.json"))
    (genie_bundle / "SHA256SUMS").unlink()
    assert ("tokenizer", "tokenizer.json has 267 tokens, the model 260: it belongs to another model") in faults(
        genie_bundle
    )


@pytest.mark.parametrize(
    ("token", "told"),
    [(259, "tokenizer.json has no end token 259"), (65, "the end token 65 is the ordinary text ")],
)
def test_an_end_token_of_another_tokenizer(genie_bundle: Path, token: int, told: str):
    edit(genie_bundle / "genie_config.json", *CONTEXT, "eos-token", value=token)
    assert next(text for subject, text in faults(genie_bundle) if subject == "tokenizer").startswith(told)


def test_no_bundle(tmp_path: Path):
    with pytest.raises(
        QairtError, match="it is not a bundle: it has no genie_config.json, genai_config.json or metadata.yaml"
    ):
        check_bundle(tmp_path)
    with pytest.raises(QairtError, match="the folder does not exist"):
        check_bundle(tmp_path / "none")
    (tmp_path / "genie_config.json").write_text("{")
    with pytest.raises(QairtError, match="genie_config.json: it is not valid JSON"):
        check_bundle(tmp_path)


def test_a_bundle_that_lost_its_configuration(genie_bundle: Path):
    (genie_bundle / "genie_config.json").unlink()
    with pytest.raises(QairtError, match="genie_config.json is missing, the configuration for genie"):
        check_bundle(genie_bundle)


def test_damaged_sums(genie_bundle: Path):
    (genie_bundle / "SHA256SUMS").write_text("no digest\n")
    assert ("files", "SHA256SUMS:1: the line is not a digest and a file name") in faults(genie_bundle)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("graphs",), [], "metadata.yaml: graphs: Tuple should have at least 1 item"),
        (
            ("model", "bos_token_id"),
            -1,
            "metadata.yaml: model.bos_token_id: Input should be greater than or equal to 0",
        ),
        (("format",), "onnx", "metadata.yaml: format: Input should be 'genie', 'geniex' or 'ort'"),
    ],
)
def test_metadata_that_no_export_writes(one_graph_bundle: Path, place: tuple[str, ...], value: Any, told: str):
    change(one_graph_bundle / "metadata.yaml", place, value)
    with pytest.raises(QairtError) as caught:
        check_bundle(one_graph_bundle)
    assert str(caught.value).startswith(told)


def test_damaged_sums_hide_no_missing_file(genie_bundle: Path):
    (genie_bundle / "SHA256SUMS").write_text("nothing\n")
    (genie_bundle / BINARY.format(2)).unlink()
    assert faults(genie_bundle) == [
        ("files", f"{BINARY.format(2)} is missing"),
        ("files", "SHA256SUMS:1: the line is not a digest and a file name"),
    ]
