"""Which facet of a model each content of a GGUF file is in; the table of reruns has those of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import pytest
from tiny_models import tiny_model, write_tiny_gguf

from qairt.engine.digests import FileDigests
from qairt.engine.env import Env
from qairt.recipe.settings import RecipeSettings
from qairt.stages.facets import CHAT_TEMPLATE, GENERATION, GRAPH, TOKENIZER, WEIGHTS, model_facets

FIELDS: dict[str, Any] = {
    "general.name": "tiny",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.chat_template": "{{ messages }}",
}
TOKENS = ("a", "b", "c", "d")


def facets(path: Path, monkeypatch: pytest.MonkeyPatch, *, model: dict[str, Any], **fields: Any) -> dict[str, object]:
    """The facets of a GGUF file with these fields."""
    tokens = fields.pop("tokens", TOKENS)
    write = gguf.GGUFWriter.write_header_to_file

    def with_fields(writer: gguf.GGUFWriter) -> None:
        for name, value in (FIELDS | fields).items():
            (writer.add_string if isinstance(value, str) else writer.add_uint32)(name, value)
        write(writer)

    with monkeypatch.context() as patch:
        patch.setattr(gguf.GGUFWriter, "write_header_to_file", with_fields)
        write_tiny_gguf(path, tiny_model("llama", **model), tokens=tokens)
    settings = RecipeSettings(model_id_or_path=str(path), stages={})
    return dict(model_facets(Env(settings, {}, FileDigests()), "model_loading"))


@pytest.mark.parametrize(
    ("model", "fields", "changed"),
    [
        ({}, {}, set()),
        ({}, {"general.name": "other and longer, so that everything moves"}, set()),
        ({}, {"tokenizer.chat_template": "{{ messages[0] }}"}, {CHAT_TEMPLATE}),
        ({}, {"tokenizer.ggml.eos_token_id": 3}, {GENERATION}),
        ({}, {"tokenizer.ggml.eot_token_id": 3}, {GENERATION}),
        ({}, {"tokenizer.ggml.bos_token_id": 0}, {GENERATION, TOKENIZER}),
        ({}, {"tokenizer.ggml.pre": "gpt-2"}, {TOKENIZER}),
        ({}, {"tokens": ("a", "b", "c", "e")}, {TOKENIZER}),
        ({"rms_norm_eps": 1e-3}, {}, {GRAPH}),
        ({"seed": 1}, {}, {WEIGHTS}),
    ],
)
def test_gguf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: dict[str, Any], fields: dict[str, Any], changed: set[str]
) -> None:
    before = facets(tmp_path / "a.gguf", monkeypatch, model={})
    after = facets(tmp_path / "b.gguf", monkeypatch, model=model, **fields)
    assert before.keys() == {WEIGHTS, GRAPH, TOKENIZER, CHAT_TEMPLATE, GENERATION}
    assert {name for name in before if after[name] != before[name]} == changed
