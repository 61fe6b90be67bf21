"""Describing a model from its headers, and refusing what cannot be used, with the exact words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from gguf import GGUFReader
from ratio import ratio
from safetensors.numpy import load_file, save_file
from tiny_models import save_tiny, tiny_model, write_tiny_gguf

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.families import FAMILIES

SUPPORTED = "  use a model of a supported family (see `qairt models`): " + ", ".join(FAMILIES)


def refused(path: str | Path) -> str:
    with pytest.raises(ModelError) as raised:
        describe_model(path)
    return str(raised.value)


def change_config(directory: Path, **changes: Any) -> Path:
    path = directory / "config.json"
    stated = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in stated.items() if value != "removed"}))
    return path


def test_directory(tmp_path: Path) -> None:
    model = save_tiny(tmp_path, "qwen2", tie_word_embeddings=True)
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "README.md").write_text("not read")
    description = describe_model(tmp_path)
    assert description.format == "safetensors"
    assert description.source == tmp_path
    assert [file.name for file in description.files] == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert description.parameter_count == model.num_parameters()
    assert description.parameter_bytes == description.stored_bytes == 4 * model.num_parameters()
    assert description.tensors["model.layers.1.mlp.down_proj.weight"] == (64, 96)
    assert "lm_head.weight" not in description.tensors
    config = description.config
    assert (config.qkv_bias, config.output_bias, config.tie_word_embeddings) == (True, False, True)
    assert (config.bos_token_id, config.eos_token_ids) == (1, (2,))


def test_config_of_transformers_4(tmp_path: Path) -> None:
    """Theta and scaling at the top level, several stop tokens in generation_config.json, tying not stated."""
    save_tiny(tmp_path, "llama")
    scaling = {"type": "linear", "factor": 2.0}
    change_config(
        tmp_path,
        rope_parameters="removed",
        rope_theta=500000.0,
        rope_scaling=scaling,
        tie_word_embeddings="removed",
        eos_token_id=7,
    )
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    config = describe_model(tmp_path).config
    assert config.rope_theta == 500000.0
    assert config.rope_scaling == {"rope_type": "linear", "factor": 2.0, "original_max_position_embeddings": 64}
    assert config.eos_token_ids == (7, 9)
    assert config.tie_word_embeddings is False


def test_a_model_without_a_head_that_does_not_say_is_tied(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama", tie_word_embeddings=True)
    change_config(tmp_path, tie_word_embeddings="removed")
    assert describe_model(tmp_path).config.tie_word_embeddings is True


@pytest.mark.parametrize(
    ("family", "changes", "window"),
    [
        ("mistral", {"sliding_window": 32}, 32),
        ("mistral", {"sliding_window": None}, None),
        ("phi3", {"sliding_window": 32}, 32),
        ("phi3", {}, None),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 32}, None),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 1}, 32),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 2}, None),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 0}, 32),
        ("llama", {}, None),
    ],
)
def test_sliding_window_is_reported(family: str, changes: dict[str, Any], window: int | None, tmp_path: Path) -> None:
    save_tiny(tmp_path, family, **changes)
    assert describe_model(tmp_path).config.sliding_window == window


def test_gguf(tmp_path: Path) -> None:
    model = tiny_model("qwen3", tie_word_embeddings=True)
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, model, gguf.GGMLQuantizationType.Q8_0, fields={"attention.sliding_window": 16})
    description = describe_model(path)
    assert description.format == "gguf"
    assert description.files == [path]
    assert description.parameter_count == model.num_parameters()
    assert description.stored_bytes < description.parameter_bytes / 3
    assert description.config.qk_norm
    assert description.config.tie_word_embeddings
    assert description.config.sliding_window == 16
    assert description.config.rms_norm_eps == 1e-06


def test_gguf_table_of_llama_3_is_recognised(tmp_path: Path) -> None:
    from qairt.model.rope import llama3_factors, plain_frequencies

    llama3 = {
        "rope_type": "llama3",
        "factor": 32.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    model = tiny_model("llama", rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    factors = llama3_factors(plain_frequencies(16, 5e5), llama3)
    write_tiny_gguf(tmp_path / "a.gguf", model, rope_factors=factors)
    assert describe_model(tmp_path / "a.gguf").config.rope_scaling == llama3
    write_tiny_gguf(tmp_path / "b.gguf", model, rope_factors=np.arange(1, 9))
    assert describe_model(tmp_path / "b.gguf").config.rope_scaling == {
        "rope_type": "frequency_factors",
        "factors": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    }


def test_a_large_vocabulary_takes_little_time_and_no_torch(tmp_path: Path) -> None:
    """30,000 tokens and merges, against the reader of the gguf package."""
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), tokens=[f"token{number}" for number in range(30_000)])
    assert ratio(lambda: describe_model(path), lambda: GGUFReader(path)) < 0.2
    code = f"import sys; from qairt.model.describe import describe_model; describe_model({str(path)!r}); "
    code += "print(sorted({'torch', 'gguf', 'transformers', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


# What is refused


def test_no_such_path(tmp_path: Path) -> None:
    path = tmp_path / "nothing"
    assert refused(path) == f"{path}: no such model\n  use a model directory, a .gguf file or an id `owner/name`"


def test_no_config(tmp_path: Path) -> None:
    assert refused(tmp_path) == (
        f"{tmp_path}: the model directory has no config.json\n"
        "  use a directory as published on Hugging Face: config.json, .safetensors and the tokenizer's files"
    )


def test_directory_of_a_gguf_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"")
    assert refused(tmp_path).startswith(
        f"{tmp_path}: the model directory has no config.json; to use a GGUF file, give its path (m.gguf)\n"
    )


def test_no_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    assert refused(tmp_path) == (
        f"{tmp_path}: no .safetensors file in the model directory; pytorch_model.bin is not supported\n"
        "  save it as safetensors (in transformers: model.save_pretrained(directory)), or use a .gguf file"
    )


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (
            {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
            "'GPT2LMHeadModel' is not supported: it needs learned position embeddings",
        ),
        (
            {"model_type": "falcon_mamba", "architectures": ["FalconMambaForCausalLM"]},
            "'FalconMambaForCausalLM' is not supported: it needs a state-space scan (Mamba)",
        ),
        ({"model_type": "helium", "architectures": None}, "'helium' is not supported"),
        (
            {"model_type": "olmo", "architectures": ["OlmoForCausalLM"]},
            "'OlmoForCausalLM' is not supported: it needs norms without weights",
        ),
        (
            {"model_type": "new", "architectures": ["NewForCausalLM"], "alibi": True},
            "'NewForCausalLM' is not supported: it needs attention biases by distance (ALiBi)",
        ),
        (
            {"architectures": ["LlamaForSequenceClassification"]},
            "'LlamaForSequenceClassification' is not supported: it needs a head other than the language model's",
        ),
        (
            {"architectures": ["LlamaModel"]},
            "'LlamaModel' is not supported: it needs a pooled output (an embedding model)",
        ),
        (
            {"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"], "num_experts": 8},
            "'Qwen2MoeForCausalLM' is not supported: it needs experts that every token is given to, beside a choice of"
            " others",
        ),
        (
            {
                "model_type": "mistral3",
                "architectures": ["Mistral3ForConditionalGeneration"],
                "vision_config": {"a": 1},
            },
            "'Mistral3ForConditionalGeneration' is not supported: it needs a vision tower",
        ),
        (
            {"model_type": "new", "architectures": ["NewForConditionalGeneration"], "num_experts": 0},
            "'NewForConditionalGeneration' is not supported: it needs an input other than text",
        ),
    ],
)
def test_unknown_architecture(changes: dict[str, Any], name: str, tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    config = change_config(tmp_path, **changes)
    assert refused(tmp_path) == f"{config}: architecture {name}\n{SUPPORTED}"
    (tmp_path / "model.safetensors").unlink()  # no weight is fetched or converted for nothing
    assert refused(tmp_path) == f"{config}: architecture {name}\n{SUPPORTED}"


def test_end_tokens_that_are_none(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    path = tmp_path / "generation_config.json"
    path.write_text('{"eos_token_id": ["x", 2]}')
    assert refused(tmp_path) == (
        f'{path}: eos_token_id is ["x", 2], not a token id\n'
        "  use the generation_config.json that was published with the model"
    )


def test_types_of_layers_count_as_in_transformers(tmp_path: Path) -> None:
    """It takes a Mistral that has them for a Ministral, and reads a pattern only where there are none."""
    types = ["sliding_attention", "full_attention"]
    save_tiny(tmp_path / "mistral", "mistral", sliding_window=8)
    change_config(tmp_path / "mistral", layer_types=types)
    assert describe_model(tmp_path / "mistral").config.windowed_layers == (0,)
    for family, unrotated in (("exaone4", (1,)), ("cohere2", (1,)), ("gemma3_text", ())):
        save_tiny(tmp_path / family, family, sliding_window=8, layer_types=types, pad_token_id=0)
        change_config(tmp_path / family, sliding_window_pattern="LLLG")
        config = describe_model(tmp_path / family).config
        assert (config.windowed_layers, config.unrotated_layers) == ((0,), unrotated)


def test_an_odd_rotated_width_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path, "glm4", head_dim=18, pad_token_id=0)
    config = change_config(tmp_path, partial_rotary_factor=0.5, rope_parameters="removed")
    assert refused(tmp_path).startswith(
        f"{config}: rotary embedding on an odd number of values (9 of a head's 18) is not supported\n"
    )


def test_a_configuration_that_names_no_architecture(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}")
    assert refused(tmp_path) == (
        f"{config}: it states neither model_type nor architectures\n"
        "  use the config.json that was published with the model"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "removed"}, "it states no model_type"),
        (
            {"model_type": "mistral"},
            "architectures says 'LlamaForCausalLM', and model_type 'mistral', whose models are 'MistralForCausalLM'",
        ),
        ({"eos_token_id": "x"}, 'eos_token_id is "x", not a token id'),
        ({"bos_token_id": [1, "x"]}, 'bos_token_id is [1, "x"], not a token id'),
        ({"hidden_size": None}, "hidden_size is null, not a positive number"),
        ({"hidden_size": "many"}, 'hidden_size is "many", not a positive number'),
        ({"tie_word_embeddings": "yes"}, 'tie_word_embeddings is "yes", not true or false'),
        ({"layer_types": "full_attention"}, 'layer_types is "full_attention", not a list of names'),
        ({"rope_scaling": "linear"}, "rope_scaling is 'linear', not a mapping"),
        (
            {"rope_scaling": {"rope_type": "linear", "factor": "2.0x"}},
            "rope_scaling.factor is '2.0x', not a number",
        ),
        ({"rope_scaling": {"rope_type": "linear", "factor": -1}}, "rope_scaling.factor is -1, not a positive number"),
        ({"rope_parameters": {"rope_theta": True}}, "rope_theta is true, not a positive number"),
        ({"rope_theta": None, "rope_parameters": "removed"}, "rope_theta is null, not a positive number"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": [None, True]}},
            "rope_parameters.factor is [null, true], not a number",
        ),
        (
            {"rope_parameters": {"rope_type": "dynamic", "factor": False}},
            "rope_parameters.factor is false, not a number",
        ),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2, "original_max_position_embeddings": 1.5}},
            "rope_parameters.original_max_position_embeddings is 1.5, not a whole number above 1",
        ),
        ({"hidden_act": None}, "hidden_act is null, not the name of an activation"),
        ({"architectures": [None]}, "architectures is [null], not a list of names"),
        ({"max_position_embeddings": 1.5}, "max_position_embeddings is 1.5, not a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, not a positive number"),
        (
            {"num_key_value_heads": 3},
            "num_attention_heads (4) is not a multiple of num_key_value_heads (3)",
        ),
        (
            {"intermediate_size": 1.5},
            "intermediate_size: Input should be a valid integer, got a number with a fractional part",
        ),
    ],
)
def test_config_with_a_fault(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    config = change_config(tmp_path, **changes)
    assert refused(tmp_path) == f"{config}: {message}\n  use the config.json that was published with the model"


def test_config_that_is_not_json(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    config = tmp_path / "config.json"
    config.write_text("{")
    assert refused(tmp_path).startswith(f"{config}: not JSON: ")


def test_a_configuration_of_packed_weights_beside_plain_ones(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    config = change_config(tmp_path, quantization_config={"quant_method": "gptq"})
    assert refused(tmp_path) == (
        f"{config}: the weights are stored quantized (quant_method is gptq, but no tensor is stored so)\n"
        "  use the config.json that was published with the weights, or the float model"
    )


def test_truncated_safetensors(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    file = tmp_path / "model.safetensors"
    size = file.stat().st_size
    os.truncate(file, size - 1000)
    assert refused(tmp_path) == (
        f"{file}: the safetensors file is truncated: it has {size - 1000:,} bytes, expected {size:,} bytes\n"
        "  download or copy it again"
    )
    os.truncate(file, 100)
    assert "the safetensors file is truncated: it has 100 bytes, expected " in refused(tmp_path)
    os.truncate(file, 3)
    assert "it has 3 bytes, expected 8 bytes of header length" in refused(tmp_path)


def test_safetensors_that_is_something_else(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    file = tmp_path / "model.safetensors"
    file.write_bytes((6).to_bytes(8, "little") + b"<html>")
    assert refused(tmp_path) == (
        f"{file}: not a safetensors file: its header is not valid\n  download or copy it again"
    )


def test_safetensors_header_that_contradicts_itself(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"shape":[128,64]', b'"shape":[128,65]'))
    assert refused(tmp_path) == (
        f"{file}: the safetensors header gives lm_head.weight 32,768 bytes for shape [128, 65]\n"
        "  download or copy it again"
    )


def test_missing_shard(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama", max_shard_size="100KB")
    shard = sorted(tmp_path.glob("model-*.safetensors"))[1]
    shards = len(list(tmp_path.glob("model-*.safetensors")))
    shard.unlink()
    index = tmp_path / "model.safetensors.index.json"
    assert refused(tmp_path) == (
        f"{index}: the shard {shard.name} is missing ({shards} shards are listed)\n  download the whole model"
    )


def test_missing_weight_and_wrong_shape(tmp_path: Path) -> None:
    save_tiny(tmp_path, "llama")
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    name = "model.layers.1.self_attn.o_proj.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, file)
    assert refused(tmp_path) == (
        f"{tmp_path}: the weight {name} is missing\n"
        "  download the whole model, with the config.json that was published with it"
    )
    save_file(tensors | {name: np.zeros((64, 32), np.float32)}, file)
    assert refused(tmp_path) == (
        f"{tmp_path}: the weight {name} has shape [64, 32], the configuration requires [64, 64]\n"
        "  use the config.json that was published with the weights"
    )


def test_truncated_gguf(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"))
    last = max(tensor.data_offset + tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors)
    os.truncate(path, last - 1)
    assert refused(path) == (
        f"{path}: the GGUF file is truncated: it has {last - 1:,} bytes, expected {last:,} bytes\n"
        "  download or copy it again"
    )
    os.truncate(path, 200)
    assert refused(path).startswith(
        f"{path}: the GGUF file is truncated: it has 200 bytes, expected a complete header\n"
    )
    os.truncate(path, 0)
    assert "it has 0 bytes, expected at least 24 bytes of header" in refused(path)


def test_gguf_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"PK" + bytes(100))
    assert refused(path) == (
        f"{path}: not a GGUF file (it does not start with 'GGUF')\n"
        "  use a .gguf file, or a directory with config.json and .safetensors"
    )


def test_gguf_of_an_unknown_architecture(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), architecture="mamba")
    needs = "it needs a state-space scan (Mamba)"
    assert refused(path) == f"{path}: architecture 'mamba' is not supported: {needs}\n{SUPPORTED}"
    write_tiny_gguf(path, tiny_model("llama"), fields={"expert_count": 8})
    needs = "it needs another kind of experts"
    assert refused(path) == f"{path}: architecture 'llama with experts' is not supported: {needs}\n{SUPPORTED}"


@pytest.mark.parametrize(
    ("architecture", "fields", "needs"),
    [
        ("clip", {}, "a vision tower"),
        ("qwen35", {"ssm.state_size": 16}, "the gated delta rule (linear attention)"),
        ("lfm2moe", {"shortconv.l_cache": 3}, "experts in some layers beside plain MLPs"),
        ("new", {"ssm.state_size": 16}, "a state-space scan (Mamba)"),
        ("new", {"pooling_type": 1}, "a pooled output (an embedding model)"),
    ],
)
def test_gguf_that_needs_what_the_decoder_lacks(
    architecture: str, fields: dict[str, Any], needs: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), architecture=architecture, fields=fields)
    assert refused(path) == f"{path}: architecture {architecture!r} is not supported: it needs {needs}\n{SUPPORTED}"


def test_gguf_without_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    write_tiny_gguf(path, tiny_model("llama"), without=["blk.1.ffn_up.weight"])
    assert refused(path).startswith(f"{path}: the weight model.layers.1.mlp.up_proj.weight is missing\n")


def test_gguf_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert refused(path) == (f"{path}: this is one of 3 parts of a model\n  join them first: llama-gguf-split --merge")


def test_damaged_headers_are_refused_and_never_a_traceback(tmp_path: Path) -> None:
    """Every byte of the headers set to another value, a sample of them."""
    save_tiny(tmp_path, "llama")
    write_tiny_gguf(tmp_path / "m.gguf", tiny_model("llama"))
    random = np.random.default_rng(0)
    for path, described in ((tmp_path / "m.gguf", tmp_path / "m.gguf"), (tmp_path / "model.safetensors", tmp_path)):
        whole = path.read_bytes()
        refusals = 0
        for place, value in zip(random.integers(0, 2000, 300), random.integers(0, 256, 300), strict=True):
            damaged = bytearray(whole)
            damaged[place] = value
            path.write_bytes(damaged)
            try:
                describe_model(described)
            except ModelError:
                refusals += 1
        path.write_bytes(whole)
        assert refusals > 100
