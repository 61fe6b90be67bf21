"""Which facet of a model each content of a GGUF file is in; the table of reruns has those of a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from tiny_models import save_tiny, tiny_model, write_tiny_gguf
from tiny_quantized import store_as_fp8
from tiny_recipe import write_model

from qairt.engine.digests import FileDigests
from qairt.engine.env import Env
from qairt.recipe.settings import RecipeSettings
from qairt.stages.facets import CHAT_TEMPLATE, GENERATION, GRAPH, TOKENIZER, WEIGHTS, model_facets

INDEX = "model.safetensors.index.json"
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


def test_shards(tmp_path: Path) -> None:
    """Their names are in no facet; which of them holds a tensor, and every byte, is."""
    write_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    save_tiny(tmp_path, "llama", max_shard_size="100KB")
    settings = RecipeSettings(model_id_or_path=str(tmp_path), stages={})

    def found() -> dict[str, object]:
        return dict(model_facets(Env(settings, {}, FileDigests()), "model_loading"))

    before, index = found(), json.loads((tmp_path / INDEX).read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 1
    renamed = {name: f"part-{name}" for name in shards}
    for old, new in renamed.items():
        (tmp_path / old).rename(tmp_path / new)
    index["weight_map"] = {tensor: renamed[shard] for tensor, shard in reversed(index["weight_map"].items())}
    (tmp_path / INDEX).write_text(json.dumps(index, indent=7))
    assert found() == before
    for shard in renamed.values():
        content = (tmp_path / shard).read_bytes()
        (tmp_path / shard).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        assert {name for name, value in found().items() if value != before[name]} == {WEIGHTS}
        (tmp_path / shard).write_bytes(content)
    assert found() == before


def test_what_is_stated_about_packed_weights_counts_like_them(tmp_path: Path) -> None:
    write_model(tmp_path)

    def found() -> dict[str, object]:
        settings = RecipeSettings(model_id_or_path=str(tmp_path), stages={})
        return dict(model_facets(Env(settings, {}, FileDigests()), "model_loading"))

    plain = found()
    store_as_fp8(tmp_path, (32, 32))
    before = found()
    assert {name for name in before if before[name] != plain[name]} == {WEIGHTS}
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"activation_scheme"', '"scheme"'))
    after = found()
    assert {name for name in before if after[name] != before[name]} == {WEIGHTS}
