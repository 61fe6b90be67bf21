"""Embedding models: the vector is what sentence-transformers makes of transformers' hidden states."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from tiny_embedders import EMBEDDERS, save_embedder
from tiny_models import IDS, assert_close, save_tiny, tiny_model, write_tiny_gguf

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference
from qairt.model.sentence_transformers import read_prompts


@pytest.mark.parametrize("name", EMBEDDERS)
def test_vectors_are_those_of_sentence_transformers(name: str, tmp_path: Path) -> None:
    made = save_embedder(tmp_path, **EMBEDDERS[name])
    config = describe_model(tmp_path).config
    reference = Reference(open_parameters(tmp_path, config))
    for length in (1, 9, len(IDS)):
        assert_close(reference.embedding(IDS[:length]), made.vector(IDS[:length]))
    assert config.bidirectional == (name == "gemma3_text")
    lengths = np.linalg.norm(reference.embedding(IDS))
    assert (abs(lengths - 1) < 1e-5) == made.normalize


def test_its_files_are_those_of_all_modules(tmp_path: Path) -> None:
    save_embedder(tmp_path, **EMBEDDERS["gemma3_text"])
    description = describe_model(tmp_path)
    assert description.notices == ()
    assert [str(path.relative_to(tmp_path)) for path in description.files] == [
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_Dense/config.json",
        "3_Dense/model.safetensors",
        "config.json",
        "model.safetensors",
        "modules.json",
    ]
    assert description.tensors["pooling.dense.0.weight"] == (96, 64)
    assert "lm_head.weight" not in description.tensors
    assert read_prompts(tmp_path) == {"query": "search: ", "document": ""}


REMEDY = "use an embedding model that pools the last token or the mean, with linears and a normalization behind it"


def refused(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        describe_model(folder)
    return str(caught.value)


def test_other_poolings_are_refused(tmp_path: Path) -> None:
    save_embedder(tmp_path, **EMBEDDERS["qwen3"])
    path = tmp_path / "1_Pooling" / "config.json"
    path.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_lasttoken": True}))
    pair = "pooling_mode_cls_token and pooling_mode_lasttoken"
    assert refused(tmp_path) == f"{path}: the pooling {pair} is not supported\n  {REMEDY}"
    path.write_text(json.dumps({"pooling_mode_mean_tokens": True, "include_prompt": False}))
    why = "include_prompt is false: leaving out the tokens of a prompt is not supported"
    assert refused(tmp_path) == f"{path}: {why}\n  {REMEDY}"


def test_other_modules_are_refused(tmp_path: Path) -> None:
    save_embedder(tmp_path, **EMBEDDERS["qwen3"])
    path = tmp_path / "modules.json"
    modules = json.loads(path.read_text())
    path.write_text(json.dumps([*modules, {"type": "sentence_transformers.models.LSTM", "path": "3_LSTM"}]))
    (tmp_path / "3_LSTM").mkdir()
    assert refused(tmp_path) == f"{path}: the module LSTM is not supported at this place\n  {REMEDY}"
    path.write_text(json.dumps(modules[:1]))
    assert refused(tmp_path) == f"{path}: it lists no pooling\n  {REMEDY}"
    path.write_text(json.dumps([{"idx": 1}]))
    assert refused(tmp_path) == f"{path}: not a list of modules with a type and a path\n  download it again"
    path.write_text(json.dumps([{**modules[0], "path": "0_Transformer"}, *modules[1:]]))
    why = "its first module is not a Transformer in the model's own folder"
    assert refused(tmp_path) == f"{path}: {why}\n  {REMEDY}"
    path.write_text(json.dumps([*modules[:1], {**modules[1], "path": "../1_Pooling"}]))
    assert refused(tmp_path) == f"{path}: the folder '../1_Pooling' is not in the model's own\n  {REMEDY}"


def test_a_linear_without_its_weights_is_refused(tmp_path: Path) -> None:
    save_embedder(tmp_path, **EMBEDDERS["gemma3_text"])
    (tmp_path / "3_Dense" / "model.safetensors").unlink()
    remedy = "save it as safetensors (in sentence-transformers: model.save(directory))"
    assert refused(tmp_path) == f"{tmp_path / '3_Dense'}: the linear has no model.safetensors\n  {remedy}"


def test_attention_in_both_directions_needs_a_pooling(tmp_path: Path) -> None:
    save_tiny(tmp_path, "gemma3_text", use_bidirectional_attention=True)
    assert "attention in both directions is not supported for generating models" in refused(tmp_path)


def test_a_gguf_file_with_a_pooling_is_an_embedding_model(tmp_path: Path) -> None:
    """As llama.cpp's converter writes Qwen3-Embedding."""
    model, path = tiny_model("qwen3", tie_word_embeddings=True), tmp_path / "m.gguf"
    write_tiny_gguf(path, model, GGMLQuantizationType.F32, fields={"pooling_type": 3})
    description = describe_model(path)
    (notice,) = description.notices
    assert notice == "the vector is divided by its length, as llama.cpp does; a GGUF file does not say it"
    with torch.no_grad():
        hidden = model.model(torch.tensor([IDS])).last_hidden_state[0, -1]
    found = Reference(open_parameters(path, description.config)).embedding(IDS)
    assert_close(found, torch.nn.functional.normalize(hidden, dim=0).numpy())
