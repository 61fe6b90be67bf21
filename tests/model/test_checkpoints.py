"""Checkpoints that people bring: read as transformers reads them, or refused by name, or told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import hf_logits, save_tiny
from transformers import AutoModelForCausalLM

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference

IDS = list(range(3, 43))
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}


def change_config(directory: Path, **changes: Any) -> Path:
    path = directory / "config.json"
    stated = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in stated.items() if value != "removed"}))
    return path


def change_weights(directory: Path, change: Any) -> None:
    file = directory / "model.safetensors"
    tensors = load_file(file)
    save_file({name: tensor.contiguous() for name, tensor in change(tensors).items()}, file, metadata={"format": "pt"})


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as raised:
        describe_model(path)
    return str(raised.value)


def read_as_transformers(directory: Path) -> tuple[str, ...]:
    """Compare the logits; the notices."""
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    description = describe_model(directory)
    ours = Reference(open_parameters(directory, description.config)).logits(IDS).numpy()
    assert np.abs(ours - hf_logits(model, IDS)).max() < 1e-4
    return description.notices


# Configurations


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_rope_scaling_takes_the_place_of_rope_parameters(family, tmp_path):
    save_tiny(tmp_path, family, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    change_config(tmp_path, rope_scaling=YARN)
    assert read_as_transformers(tmp_path) == (
        "config.json: rope_scaling (yarn) takes the place of rope_parameters, as in transformers",
    )
    description = describe_model(tmp_path)
    assert description.config.rope_scaling == YARN
    assert description.config.rope_theta == 10000.0, "the one inside rope_parameters is lost"
    assert description.readings == ("rope_scaling",)


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_scaling": YARN, "rope_theta": 3e5, "rope_parameters": "removed"},
        {"rope_scaling": YARN, "original_max_position_embeddings": 32, "rope_parameters": "removed"},
        {"rope_parameters": YARN | {"rope_theta": 2e4, "beta_fast": 0, "attention_factor": 1.5}},
        {"rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.5}},
        {"rope_parameters": "removed"},
        {"rope_parameters": {"type": "linear", "factor": 2}},
        {"num_key_value_heads": None, "rope_scaling": None},
    ],
)
def test_old_and_new_keys_of_rotary_embedding(changes, tmp_path):
    save_tiny(tmp_path, "llama", num_key_value_heads=4)
    change_config(tmp_path, **changes)
    assert read_as_transformers(tmp_path) == ()


@pytest.mark.parametrize(
    ("family", "missing"),
    [
        ("phi3", ["rms_norm_eps"]),
        ("mistral", ["rms_norm_eps", "hidden_act"]),
        ("llama", ["rms_norm_eps", "attention_bias", "mlp_bias", "head_dim", "rope_parameters"]),
        ("qwen3", ["attention_bias", "layer_types", "use_sliding_window"]),
    ],
)
def test_a_missing_key_means_the_default_of_its_family(family, missing, tmp_path):
    save_tiny(tmp_path, family)
    change_weights(tmp_path, lambda tensors: {name: tensor * 1e-2 for name, tensor in tensors.items()})  # eps matters
    change_config(tmp_path, **dict.fromkeys(missing, "removed"))
    assert read_as_transformers(tmp_path) == ()


def test_default_end_and_begin_tokens(tmp_path):
    save_tiny(tmp_path, "llama")
    change_config(tmp_path, bos_token_id="removed", eos_token_id="removed")
    (tmp_path / "generation_config.json").unlink()
    config = describe_model(tmp_path).config
    assert (config.bos_token_id, config.eos_token_ids) == (1, (2,))


def test_end_tokens_of_generation_config_replace_those_of_config(tmp_path):
    save_tiny(tmp_path, "llama")
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    description = describe_model(tmp_path)
    assert description.config.eos_token_ids == (7, 9)
    assert description.notices == (
        "generation_config.json ends texts with tokens 7, 9 instead of token 2 of config.json",
    )


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"is_causal": False}, "is_causal is false: its attention is not causal: this is an encoder"),
        ("qwen3", {"pooling": "last"}, 'pooling is "last": an embedding model gives no logits'),
        ("llama", {"attention_chunk_size": 8}, "attention_chunk_size is 8: attention in chunks is not supported"),
        ("mistral", {"is_encoder_decoder": True}, "is_encoder_decoder is true: the model has an encoder"),
    ],
)
def test_keys_that_change_the_function_are_refused(family, changes, message, tmp_path):
    save_tiny(tmp_path, family)
    config = change_config(tmp_path, **changes)
    assert refused(tmp_path) == f"{config}: {message}\n  use a causal language model of a supported family"


@pytest.mark.parametrize("changes", [{"factor": 1e-300}, {"rope_theta": 1}])
def test_a_scaling_without_finite_angles_is_refused(changes, tmp_path):
    save_tiny(tmp_path, "llama")
    change_config(tmp_path, rope_parameters=YARN | changes)
    assert refused(tmp_path).startswith(f"{tmp_path}: the rotary scaling gives no finite angles: rope_theta ")


def test_layers_with_rotary_embeddings_of_their_own_are_refused(tmp_path):
    save_tiny(tmp_path, "qwen3")
    config = change_config(tmp_path, rope_parameters={"full_attention": {"rope_type": "default"}})
    assert refused(tmp_path) == (
        f"{config}: rope_parameters gives different settings for full_attention layers, which is not supported\n"
        "  use a model whose layers share their rotary embedding"
    )
    config = change_config(tmp_path, rope_parameters=YARN, layer_types=["full_attention", "linear_attention"])
    assert refused(tmp_path) == (
        f"{config}: layers of the type 'linear_attention' are not supported: they need the gated delta rule\n"
        "  use a model whose layers are full_attention or sliding_attention"
    )


def test_keys_that_mean_nothing_are_told(tmp_path):
    save_tiny(tmp_path, "mistral")
    change_config(tmp_path, attention_bias=True, rope_parameters={"rope_theta": 1e4, "mrope_section": [2, 3, 3]})
    assert read_as_transformers(tmp_path) == (
        "config.json: attention_bias means nothing to mistral models and is not used",
        "config.json: rope_parameters.mrope_section means nothing to mistral models and is not used",
    )


def test_a_window_that_only_the_cache_of_llama_has(tmp_path):
    """transformers windows decoding and not prefill: within the window both agree."""
    save_tiny(tmp_path, "llama", sliding_window=16)
    assert describe_model(tmp_path).config.sliding_window == 16
    change_config(tmp_path, layer_types=["full_attention"] * 2)
    assert describe_model(tmp_path).config.sliding_window is None


# Which weights


def test_a_stored_head_counts_even_if_the_configuration_ties_it(tmp_path):
    save_tiny(tmp_path, "llama")
    change_config(tmp_path, tie_word_embeddings=True)
    assert read_as_transformers(tmp_path) == (
        "config.json ties lm_head to the embedding, but a different lm_head.weight is stored and used, as in "
        "transformers",
    )
    change_weights(tmp_path, lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    assert read_as_transformers(tmp_path) == ()


def test_either_of_a_tied_pair_may_be_stored(tmp_path):
    save_tiny(tmp_path, "llama", tie_word_embeddings=True)
    change_weights(tmp_path, lambda tensors: tensors | {"lm_head.weight": tensors.pop("model.embed_tokens.weight")})
    assert read_as_transformers(tmp_path) == ()


def test_the_whole_file_beside_an_index_of_old_shards(tmp_path):
    save_tiny(tmp_path / "old", "llama", seed=1, max_shard_size="100KB")
    save_tiny(tmp_path, "llama")
    shards = sorted((tmp_path / "old").glob("model*.safetensors"))
    for file in (*shards, tmp_path / "old" / "model.safetensors.index.json"):
        shutil.move(file, tmp_path / file.name)
    (notice,) = read_as_transformers(tmp_path)
    assert notice.startswith(
        "the weights are read from model.safetensors, as in transformers; not used: model-00001-of-"
    )
    for shard in shards:
        (tmp_path / shard.name).unlink()
    assert read_as_transformers(tmp_path) == (
        "the weights are read from model.safetensors, as in transformers; not used: model.safetensors.index.json",
    )


def test_tensors_that_two_files_hold(tmp_path):
    save_tiny(tmp_path, "llama")
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    assert refused(tmp_path) == (
        f"{tmp_path}: lm_head.weight is stored in a.safetensors and in b.safetensors\n"
        "  keep the files of one model only, with their model.safetensors.index.json"
    )


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_names_without_the_prefix_of_the_base_model(family, tmp_path):
    save_tiny(tmp_path, family, tie_word_embeddings=True)
    change_weights(tmp_path, lambda tensors: {name.removeprefix("model."): t for name, t in tensors.items()})
    assert read_as_transformers(tmp_path) == ()


@pytest.mark.parametrize(
    ("prefix", "cause", "remedy"),
    [
        ("_orig_mod.", ": saved from a model that torch.compile wrapped", "save the inner model, or remove the prefix"),
        ("language_model.", ": a part of a multimodal model", "save its language model alone"),
        (
            "base_model.model.",
            ": saved from a model that peft wrapped",
            "merge the adapter first (model.merge_and_unload())",
        ),
        ("decoder.", "", "remove 'decoder.model.' from the names of the weights"),
    ],
)
def test_names_with_a_foreign_prefix_name_the_cause(prefix, cause, remedy, tmp_path):
    save_tiny(tmp_path, "llama")
    change_weights(tmp_path, lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()})
    name = "model.embed_tokens.weight"
    assert refused(tmp_path) == (
        f"{tmp_path}: the weight {name} is missing, but {prefix}{name} is stored{cause}\n  {remedy}"
    )


@pytest.mark.parametrize(
    ("family", "extra"),
    [
        ("llama", ["model.layers.0.self_attn.q_proj.bias", "model.layers.1.mlp.up_proj.bias"]),
        ("qwen3", ["model.layers.0.self_attn.o_proj.bias"]),
        ("mistral", ["model.layers.2.input_layernorm.weight"]),
    ],
)
def test_stored_weights_of_the_family_that_the_configuration_leaves_out_are_refused(family, extra, tmp_path):
    save_tiny(tmp_path, family)
    change_weights(tmp_path, lambda tensors: tensors | {name: torch.ones(8) for name in extra})
    assert refused(tmp_path) == (
        f"{tmp_path}: the configuration does not use stored weights of the model: {', '.join(extra)}\n"
        "  use the config.json that was published with the weights (num_hidden_layers, attention_bias, mlp_bias), or "
        "remove these tensors"
    )


def test_other_stored_tensors_are_told(tmp_path):
    save_tiny(tmp_path, "mistral")
    extra = ["lm_head.bias", "model.layers.0.self_attn.q_norm.weight", "model.layers.0.self_attn.q_proj.lora_A.weight"]
    extra += ["model.layers.1.self_attn.k_proj.bias", "model.layers.0.self_attn.rotary_emb.inv_freq"]
    change_weights(tmp_path, lambda tensors: tensors | {name: torch.ones(8) for name in extra})
    assert read_as_transformers(tmp_path) == (
        "stored tensors that a mistral model does not use: lm_head.bias, model.layers.0.self_attn.q_norm.weight, "
        "model.layers.0.self_attn.q_proj.lora_A.weight and 1 more",
    )


# Other kinds of checkpoints


def test_adapters_are_refused_by_name(tmp_path):
    adapter = tmp_path / "adapter_config.json"
    adapter.write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "org/base"}))
    with_adapter = (
        "for the model with its adapter, name the adapter in the recipe (lora: adapters:), or merge the two "
        "(in peft: model.merge_and_unload().save_pretrained(directory))"
    )
    assert refused(tmp_path) == (
        f"{adapter}: this is a LORA adapter, not a model; its base model is org/base\n"
        f"  use the base model; {with_adapter}"
    )
    save_tiny(tmp_path, "llama")
    assert refused(tmp_path) == (
        f"{adapter}: the directory holds a LORA adapter beside its base model, and it is not clear which is meant\n"
        f"  move the adapter to a folder of its own; {with_adapter}"
    )


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:abab\nsize 269060552\n"


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "tokenizer.model", "config.json"])
def test_git_lfs_pointers(name, tmp_path):
    save_tiny(tmp_path, "llama")
    (tmp_path / name).write_text(POINTER)
    assert refused(tmp_path) == (
        f"{tmp_path / name}: this is a git-lfs pointer, not the file itself\n"
        f"  run `git lfs pull` in {tmp_path}, or download the file"
    )


def test_a_gguf_that_is_a_git_lfs_pointer(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_text(POINTER)
    assert refused(path).startswith(f"{path}: this is a git-lfs pointer, not the file itself\n")
