"""The same weights of an embedding model in a GGUF file give the same vectors as in sentence-transformers' folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from family_gguf import write_embedder, write_gguf
from tiny_embedders import EMBEDDERS, TinyEmbedder, save_embedder
from tiny_models import IDS, assert_close

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.open_weights import open_weights
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference

LENGTH = "the vector is divided by its length, as llama.cpp does; a GGUF file does not say it"
SEVEN_LAYERS: dict[str, Any] = {"num_hidden_layers": 7, "layer_types": None}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "qwen3": ("qwen3", {"tie_word_embeddings": True}, {}),
    "gemma3_text": ("gemma3_text", SEVEN_LAYERS, {}),
    "gemma3_text-causal-said": ("gemma3_text", SEVEN_LAYERS, {"attention.causal": False}),
    "gemma3_text-period": ("gemma3_text", {}, {"attention.sliding_window_pattern": 2}),
    "gemma3_text-each-layer": ("gemma3_text", {}, {"attention.sliding_window_pattern": [True, False, True]}),
    "gemma3_text-local-theta": (
        "gemma3_text",
        SEVEN_LAYERS
        | {
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 5e3},
            }
        },
        {"rope.freq_base_swa": 5e3},
    ),
}
"""Name -> an embedder, changes of it, and what its file states beyond what the architecture does."""


def saved(folder: Path, name: str, **changes: Any) -> TinyEmbedder:
    """Its norms stay as they are when 1 is added and taken away again; its scores are scaled by the width of a head, as
    in the sizes that llama.cpp knows."""
    own = {"query_pre_attn_scalar": 16} if name == "gemma3_text" else {}
    made = save_embedder(folder, **{**EMBEDDERS[name], **own, **changes})
    with torch.no_grad():
        for key, parameter in made.model.named_parameters():
            if "norm" in key:
                parameter.copy_((parameter * 1024).round() / 1024)
    made.model.save_pretrained(folder)
    return made


@pytest.mark.parametrize("case", CASES)
def test_the_vectors_are_the_same(case: str, tmp_path: Path) -> None:
    name, changes, more = CASES[case]
    path = tmp_path / "m.gguf"
    made = saved(tmp_path / "model", name, **changes)
    write_embedder(path, made, more)
    folder, file = describe_model(tmp_path / "model"), describe_model(path)
    tokens = {"bos_token_id": None, "eos_token_ids": ()}  # stand with the tokenizer, which the file lacks
    assert file.config == folder.config.model_copy(update=tokens)
    assert file.notices == (LENGTH,)
    stored, theirs = open_weights(path), open_weights(tmp_path / "model")
    assert list(file.tensors) == list(folder.tensors)
    for tensor in file.tensors:
        assert np.array_equal(stored.read(tensor), theirs.read(tensor)), tensor
    for length in (1, 9, len(IDS)):
        found = Reference(open_parameters(path, file.config)).embedding(IDS[:length])
        assert np.array_equal(found, Reference(open_parameters(folder.source, folder.config)).embedding(IDS[:length]))
        assert_close(found, made.vector(IDS[:length]))


def test_a_file_without_the_linears_says_so(tmp_path: Path) -> None:
    """As it is converted by default, and as llama.cpp runs it."""
    made, path = saved(tmp_path / "model", "gemma3_text", **SEVEN_LAYERS), tmp_path / "m.gguf"
    write_embedder(path, made, {}, with_dense=False)
    description = describe_model(path)
    assert description.notices == (
        LENGTH,
        "the file has no linears behind the pooling (dense_2, dense_3), so its vectors are not those of"
        " sentence-transformers; convert_hf_to_gguf.py keeps them with --sentence-transformers-dense-modules",
    )
    made.dense.clear()
    assert_close(Reference(open_parameters(path, description.config)).embedding(IDS), made.vector(IDS))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"pooling_type": 0},
            "gemma-embedding.pooling_type is 0: only the mean (1) and the last token (3) are supported\n"
            "  use the Hugging Face model that it was converted from, or another GGUF file",
        ),
        (
            {"attention.sliding_window_pattern": [True]},
            "the GGUF header describes an impossible decoder (gemma-embedding.attention.sliding_window_pattern has 1"
            " values for 3 layers)\n  download or copy it again",
        ),
        (
            {"dense_3_feat_out": 32},
            "the weight pooling.dense.1.weight has shape [64, 96], the configuration requires [32, 96]\n"
            "  use the config.json that was published with the weights",
        ),
    ],
)
def test_what_does_not_fit_is_refused(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_embedder(path, save_embedder(tmp_path / "model", **EMBEDDERS["gemma3_text"]), more)
    with pytest.raises(ModelError) as caught:
        describe_model(path)
    assert str(caught.value) == f"{path}: {message}"


def test_a_linear_of_a_model_that_has_none_is_not_overlooked(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    made = save_embedder(tmp_path / "model", **EMBEDDERS["qwen3"], tie_word_embeddings=True)
    write_gguf(path, "", made.model, embeds=True, more={"pooling_type": 3}, dense=[torch.ones(64, 64)])
    with pytest.raises(ModelError) as caught:
        describe_model(path)
    assert str(caught.value) == (
        f"{path}: the header does not use tensors that the file holds: dense_2.weight\n"
        "  convert the model again with llama.cpp's convert_hf_to_gguf.py"
    )
