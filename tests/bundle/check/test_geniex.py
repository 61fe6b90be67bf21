"""`check_bundle` on bundles that GenieX reads, and on such that it would refuse or misread."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from checked_bundle import faults, rewrite, said

from qairt.bundle.check.bundle import check_bundle

pytestmark = pytest.mark.compiler
GRAPH = "ar1_cl32_2_of_3"


def edited(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "metadata.json") -> list[str]:
    """What is wrong for GenieX after a change."""
    path = folder / name
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))
    return [text for subject, text in faults(folder) if subject == "geniex"]


def test_a_whole_bundle(geniex_bundle: Path):
    assert faults(geniex_bundle, "error", "warning") == []
    found = said(geniex_bundle)
    assert found["geniex"] == "GenieX reads llama_v3_tiny: 3 parts, 2 layers, 2 KV heads of 16, 260 tokens"
    assert found["config"] == "genie_config.json matches the graphs and the model"


def test_another_tools_bundle_is_known_by_its_metadata(geniex_bundle: Path):
    for name in ("metadata.yaml", "SHA256SUMS", "run_genie.sh"):
        (geniex_bundle / name).unlink()
    assert faults(geniex_bundle) == []
    assert said(geniex_bundle)["geniex"].startswith("GenieX reads llama_v3_tiny: ")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda content: content.pop("model_files"), "metadata.json: it has no object model_files"),
        (
            lambda content: content.update(model_id="smollm2"),
            "metadata.json: model_id is 'smollm2', and GenieX knows text models by qwen3_, qwen2_5_, falcon_v3_, "
            "llama_v3_, phi_3_5_",
        ),
        (
            lambda content: [content["model_files"].pop(f"ar{ar}_cl32_2_of_3") for ar in (1, 8)],
            "metadata.json: model_files has no graph of part 2 of 3",
        ),
        (
            lambda content: content.update(model_files={"model.onnx": {}}),
            "metadata.json: model_files has no graph named as in ar1_cl512_2_of_4",
        ),
        (
            lambda content: [
                content["model_files"][f"ar{ar}_cl32_3_of_3"]["inputs"].update(past_key_7_in={"shape": [2, 1, 16, 31]})
                for ar in (1, 8)
            ],
            "metadata.json: the layers of part 3 are not contiguous: 1, 7",
        ),
        (
            lambda content: content["model_files"]["ar1_cl32_1_of_3"].update(inputs={"tokens": {"shape": [1, 1]}}),
            "metadata.json: the first part's input is 'tokens', not input_ids, input_embeds, inputs_embeds",
        ),
    ],
)
def test_what_it_would_refuse(geniex_bundle: Path, change: Callable[[dict[str, Any]], object], fault: str):
    assert edited(geniex_bundle, change) == [fault]


def test_sizes_of_another_model(geniex_bundle: Path):
    def change(content: dict[str, Any]) -> None:
        content["model_files"][GRAPH]["inputs"]["past_key_0_in"]["shape"] = [4, 1, 32, 31]
        content["model_files"]["ar1_cl32_3_of_3"]["outputs"]["logits"]["shape"] = [1, 1, 300]

    found = edited(geniex_bundle, change)
    assert "metadata.json: GenieX infers 4 KV heads, the model has 2" in found
    assert "metadata.json: GenieX infers 32 values a head, the model has 16" in found
    assert "metadata.json: GenieX infers 300 tokens in the vocabulary, the model has 260" in found


def test_another_rotary_embedding(geniex_bundle: Path):
    def change(content: dict[str, Any]) -> None:
        content["dialog"]["engine"]["backend"]["QnnHtp"]["rope-theta"] = 5000.0

    assert edited(geniex_bundle, change, "genie_config.json") == [
        "genie_config.json: GenieX computes another rotary embedding from it than the model has"
    ]


def test_no_chat_template(geniex_bundle: Path):
    path = geniex_bundle / "tokenizer_config.json"
    path.write_text("{}")
    found = [finding for finding in check_bundle(geniex_bundle) if finding.subject == "geniex"]
    assert (found[0].status, found[0].text) == (
        "warning",
        "tokenizer_config.json has no chat_template, so GenieX cannot format a conversation",
    )


def test_a_genie_bundle_has_names_that_it_does_not_read(genie_bundle: Path, geniex_bundle: Path):
    """The binaries of `format: genie`, under GenieX's metadata."""
    (genie_bundle / "metadata.json").write_bytes((geniex_bundle / "metadata.json").read_bytes())
    rewrite(genie_bundle / "metadata.yaml", lambda content: content.update(format="geniex"))
    (found,) = [text for subject, text in faults(genie_bundle) if subject == "geniex"]
    assert found.startswith("the graph name ____")
    assert found.endswith("_of_3 is not of the form prefix_ar1_cl512_2_of_4, with only letters in the prefix")
