"""`genie_config.json` against graphs and model, and what Genie itself says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checked_bundle import BINARY, change, faults, said
from tiny_bundle import edit

pytestmark = pytest.mark.compiler
CONTEXT = ("dialog", "context")
ENGINE = ("dialog", "engine")
HTP = (*ENGINE, "backend", "QnnHtp")
WRONG = [
    ("genie_config.json", (*CONTEXT, "eos-token"), 10**30, "tokenizer.json has no end token 1000"),
    ("metadata.yaml", ("model", "rope_scaling"), {}, "metadata.yaml: model.rope_scaling is malformed"),
]


def test_genie_loads_binaries_of_one_graph(one_graph_bundle: Path):
    assert faults(one_graph_bundle, "error", "warning") == []
    assert said(one_graph_bundle)["genie"] == "Genie accepts the configuration and loads all binaries"


def test_paths_of_the_device_stand_for_files_of_that_name(one_graph_bundle: Path):
    place = one_graph_bundle / "genie_config.json"
    names = [f"/data/local/tmp/b/{BINARY.format(part)}" for part in (1, 2, 3)]
    edit(place, *ENGINE, "model", "binary", "ctx-bins", value=names)
    edit(place, *ENGINE, "backend", "extensions", value="/data/local/tmp/b/htp_backend_ext_config.json")
    edit(place, "dialog", "tokenizer", "path", value="/data/local/tmp/b/tokenizer.json")
    assert faults(one_graph_bundle) == []
    assert said(one_graph_bundle)["genie"] == "Genie accepts the configuration and loads all binaries"


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ((*CONTEXT, "size"), 64, "context.size is 64, but the longest context of the graphs is 32"),
        ((*CONTEXT, "n-vocab"), 257, "context.n-vocab is 257, but the size of the logits is 260"),
        ((*HTP, "kv-dim"), 128, "engine.backend.QnnHtp.kv-dim is 128, but the size of a head's keys is 16"),
        (
            (*HTP, "pos-id-dim"),
            64,
            "engine.backend.QnnHtp.pos-id-dim is 64, but the number of angles per position is 8",
        ),
        ((*HTP, "rope-theta"), 500000.0, "engine.backend.QnnHtp.rope-theta is 500000.0, but the model has 10000.0"),
        ((*CONTEXT, "eos-token"), [256, 7], "context.eos-token is [256, 7], but the model has 256"),
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


@pytest.mark.parametrize(("file", "place", "value", "told"), WRONG)
def test_a_value_that_no_export_writes_is_a_fault(
    one_graph_bundle: Path, file: str, place: tuple[str, ...], value: Any, told: str
):
    change(one_graph_bundle / file, place, value)
    assert any(text.startswith(told) for _, text in faults(one_graph_bundle))


def test_a_script_without_the_template_is_told(genie_bundle: Path):
    (genie_bundle / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content | upper }}{% endfor %}")
    told = [text for subject, text in faults(genie_bundle, "warning") if subject == "prompt"]
    assert len(told) == 1
    assert told[0].startswith("run_genie.sh: The model's chat template is more than text before and after the message")


def test_a_lost_tokenizer_is_the_only_fault_of_a_bundle_that_lost_it(genie_bundle: Path):
    (genie_bundle / "tokenizer.json").unlink()
    assert {subject for subject, _ in faults(genie_bundle)} == {"files"}


def test_a_wrong_size_of_the_vocabulary_is_not_the_tokenizers_fault(genie_bundle: Path):
    edit(genie_bundle / "genie_config.json", *CONTEXT, "n-vocab", value=12345)
    assert {subject for subject, _ in faults(genie_bundle, "error")} == {"config"}
