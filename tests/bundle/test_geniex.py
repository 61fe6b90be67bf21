"""What a bundle for GenieX holds beside a Genie bundle, and what it is refused for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_bundle import TinyModel, composed, copy

from qairt.bundle.compose import compose
from qairt.bundle.contents import Contents
from qairt.bundle.geniex import model_id, require_geniex
from qairt.bundle.geniex_reader import is_text_model
from qairt.errors import CacheError, ModelError, QairtError, RecipeError
from qairt.files import sha256_of
from qairt.model.config import DecoderConfig
from qairt.toolchain.genie import dialog as genie
from qairt.toolchain.qnn.inspection import inspect

SUITS = {"ars": (1, 8), "context_sizes": (32,), "has_adapters": False}


@pytest.mark.parametrize(
    ("family", "name", "expected"),
    [
        ("llama", "llama_3_2_3b_instruct", "llama_v3_2_3b_instruct"),
        ("llama", "meta_llama_3_1_8b", "llama_v3_1_8b"),
        ("llama", "smollm2_135m_instruct", "llama_v3_smollm2_135m_instruct"),
        ("llama", "falcon3_7b_instruct", "falcon_v3_7b_instruct"),
        ("qwen2", "qwen2_5_7b_instruct", "qwen2_5_7b_instruct"),
        ("qwen2", "qwen2_1_5b", "qwen2_5_1_5b"),
        ("qwen3", "qwen3_4b", "qwen3_4b"),
        ("qwen3", "qwen3_vl_4b", "qwen3_text_4b"),
        ("phi3", "phi_3_5_mini_instruct", "phi_3_5_mini_instruct"),
        ("phi3", "phi_3_mini", "phi_3_5_mini"),
        ("llama", "llama_3_2_3b_ssd", "llama_v3_2_3b_ssd_model"),
        ("llama", "", "llama_v3_model"),
    ],
)
def test_an_id_begins_as_the_factories_expect(family: str, name: str, expected: str):
    assert model_id(family, name) == expected
    assert is_text_model(expected)


def test_other_families_are_refused_with_the_list(tiny: TinyModel):
    require_geniex(tiny.config, **SUITS)
    with pytest.raises(RecipeError) as raised:
        require_geniex(tiny.config.model_copy(update={"family": "gemma2"}), **SUITS)
    assert str(raised.value) == (
        "stages.export_bundle.format: GenieX has no factory for model_type 'gemma2'\n"
        "  it runs llama, phi3, qwen2, qwen3; export this model for genie or ort"
    )


@pytest.mark.parametrize("ars", [(1,), (1, 8, 32)])
def test_it_needs_two_ars(tiny: TinyModel, ars: tuple[int, ...]):
    with pytest.raises(RecipeError) as raised:
        require_geniex(tiny.config, **(SUITS | {"ars": ars}))
    assert str(raised.value) == (
        "stages.prepare_exports.arn: GenieX takes one AR for prompts and one for decoding; the graphs have AR "
        f"{', '.join(map(str, ars))}\n  set arn to [1, 128], or export_bundle.format to genie"
    )


def test_it_has_no_adapters(tiny: TinyModel):
    with pytest.raises(RecipeError, match="lora: GenieX has no LoRA adapters, and the graphs take their values\n"):
        require_geniex(tiny.config, **(SUITS | {"has_adapters": True}))


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 8,
    "long_factor": [2.0] * 8,
    "original_max_position_embeddings": 4096,
    "attention_factor": (1 + 5 / 12) ** 0.5,  # as of 131,072 tokens
}


@pytest.mark.parametrize(
    ("scaling", "fault"),
    [
        (LLAMA3, None),
        (LONGROPE, None),
        (LONGROPE | {"attention_factor": 1.0}, "the factor 1.1902 on them instead of 1.0000"),
        ({"rope_type": "linear", "factor": 2.0}, "other angles"),
    ],
)
def test_the_rotary_embedding_that_it_computes_must_be_the_models(tiny: TinyModel, scaling: dict, fault: str | None):
    config: DecoderConfig = tiny.config.model_copy(update={"rope_scaling": scaling})
    if fault is None:
        require_geniex(config, **SUITS)
        return
    with pytest.raises(ModelError) as raised:
        require_geniex(config, **SUITS)
    kind = scaling["rope_type"]
    assert str(raised.value) == (
        f"rope_scaling: the model has a rotary embedding of type {kind}, for which GenieX computes {fault}\n"
        "  export this model for genie or ort"
    )


@pytest.mark.compiler
def test_it_is_a_genie_bundle_with_metadata_and_names_that_it_reads(geniex_bundle: Path, genie_bundle: Path):
    assert {path.name for path in geniex_bundle.iterdir()} == {path.name for path in genie_bundle.iterdir()} | {
        "metadata.json"
    }
    for name in ("genie_config.json", "htp_backend_ext_config.json", "run_genie.sh"):
        assert (geniex_bundle / name).read_bytes() == (genie_bundle / name).read_bytes()
    content = json.loads((geniex_bundle / "metadata.json").read_bytes())
    assert (content["model_id"], content["genie"]) == ("llama_v3_tiny", {"supports_vision": False})
    graphs = {f"ar{ar}_cl32_{part}_of_3" for ar in (1, 8) for part in (1, 2, 3)}
    assert content["model_files"].keys() == graphs
    for part in (1, 2, 3):
        binary = f"weight_sharing_model_{part}_of_3.serialized.bin"
        for before, after in zip(
            inspect(genie_bundle / binary).graphs, inspect(geniex_bundle / binary).graphs, strict=True
        ):
            plain = after.name.lstrip("x").removeprefix("_")
            assert plain in graphs
            assert (before.name.lstrip("_"), len(before.name)) == (plain, len(after.name))
            assert (before.inputs, before.outputs) == (after.inputs, after.outputs)
            stated = content["model_files"][plain]["inputs"]
            assert {name: tuple(spec["shape"]) for name, spec in stated.items()} == {
                spec.name: spec.shape for spec in after.inputs
            }


@pytest.mark.compiler
def test_genie_reads_its_graph_names_too(single: Contents, tmp_path: Path):
    """One graph a binary is not for GenieX, but Genie loads it here."""
    folder = composed(replace(single, geniex_id="llama_v3_tiny"), tmp_path / "one", "geniex")
    config = json.loads((folder / "genie_config.json").read_bytes())
    plain = composed(single, tmp_path / "plain", "genie")
    answers = []
    for each in (folder, plain):
        with genie.Dialog(config, folder=each) as dialog:
            answers.append(list(dialog.query_tokens([39, 68, 75], max_tokens=4)))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 4


@pytest.mark.compiler
def test_every_bundle_states_the_chat_template_in_the_tokenizers_settings(
    tiny: TinyModel, geniex_bundle: Path, genie_bundle: Path, ort_bundle: Path
):
    source = tiny.folder / "tokenizer" / "tokenizer_config.json"
    template = (tiny.folder / "tokenizer" / "chat_template.jinja").read_text()
    assert "chat_template" not in json.loads(source.read_bytes()), "the cache keeps it apart"
    for folder in (geniex_bundle, genie_bundle, ort_bundle):
        stated = json.loads((folder / "tokenizer_config.json").read_bytes())
        assert stated == json.loads(source.read_bytes()) | {"chat_template": template}
        assert (folder / "chat_template.jinja").read_text() == template


@pytest.mark.compiler
def test_a_damaged_binary_is_not_renamed(shared: Contents, tmp_path: Path):
    recorded = {path: sha256_of(path) for path in shared.description_files()}
    assert shared.tokenizer is not None
    recorded |= {path: sha256_of(path) for path in shared.tokenizer.iterdir()}
    recorded |= {part.binary: "0" * 64 for part in shared.parts}  # type: ignore[union-attr]
    (tmp_path / "out").mkdir()
    with pytest.raises(CacheError, match=r"weight_sharing_model_1_of_3.serialized.bin: its content is not what was"):
        compose(replace(shared, geniex_id="llama_v3_tiny"), tmp_path / "out", "geniex", place=copy, recorded=recorded)


def test_it_needs_binaries(tiny: TinyModel, tmp_path: Path):
    with pytest.raises(QairtError, match="GenieX needs context binaries, and backend CPU compiles none"):
        compose(tiny.onnx(), tmp_path, "geniex", place=copy)
