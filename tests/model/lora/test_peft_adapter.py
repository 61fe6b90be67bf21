"""Adapters saved by PEFT, compared with what PEFT itself adds to a weight."""

from __future__ import annotations

import json

import numpy as np
import peft
import pytest
import torch
from tiny_adapters import deltas, rewrite_tensors, save_adapter, tiny_adapter
from tiny_models import save_tiny, tiny_model

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.lora.adapter import read_adapter
from qairt.model.lora.peft_settings import MERGE, read_peft_lora

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHANGES = {"lfm2": {"layer_types": ["conv", "full_attention"], "block_auto_adjust_ff_dim": False}}
OURS = {
    "mlp.c_fc": "mlp.up_proj",
    "mlp.c_proj": "mlp.down_proj",
    "feed_forward.w1": "mlp.gate_proj",
    "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "self_attn.out_proj": "self_attn.o_proj",
}
"""What families name in their own way."""
ATTENTION = "model.layers.0.self_attn"


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """The decoder of each family's tiny model."""
    found = {}
    for family in ("llama", "phi3", "qwen3", "starcoder2", "lfm2"):
        path = tmp_path_factory.mktemp(family)
        save_tiny(path, family, **CHANGES.get(family, {}))
        found[family] = describe_model(path).config
    return found


def added(adapter):
    """Linear -> what the adapter adds to its stored weight, [out, in]."""
    return {name: (each.a @ each.b).T * each.scaling for name, each in adapter.modules.items()}


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {}),
        ("llama", {"target_modules": ALL, "use_rslora": True, "r": 5}),
        ("llama", {"target_modules": ALL, "rank_pattern": {"down_proj": 2, "layers.1.mlp.up_proj": 7}}),
        ("llama", {"target_modules": ALL, "alpha_pattern": {"layers.0.self_attn.q_proj": 3, r".*\.k_proj": 1}}),
        ("llama", {"target_modules": r".*layers\.1\..*(gate|up)_proj", "rank_pattern": {"up_proj": 2}}),
        ("llama", {"target_modules": "all-linear", "exclude_modules": ["o_proj", "layers.0.mlp.gate_proj"]}),
        ("llama", {"target_modules": ALL, "exclude_modules": r".*layers\.0\..*"}),
        ("llama", {"target_modules": ALL, "layers_to_transform": [1]}),
        ("llama", {"target_modules": ALL, "layers_to_transform": 0, "layers_pattern": "layers"}),
        ("llama", {"target_modules": ["model.layers.1.self_attn.q_proj", "o_proj"]}),
        ("llama", {"fan_in_fan_out": True, "bias": "all", "lora_dropout": 0.1}),
        ("llama", {"init_lora_weights": "gaussian", "lora_alpha": 1}),
        ("qwen3", {"target_modules": "all-linear"}),
        ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj", "down_proj"], "rank_pattern": {"qkv_proj": 3}}),
        ("phi3", {"target_modules": "all-linear"}),
        ("starcoder2", {"target_modules": ["c_fc", "c_proj", "q_proj"]}),
        ("lfm2", {"target_modules": ["in_proj", "out_proj", "w1", "w2", "q_proj"], "rank_pattern": {"in_proj": 3}}),
        ("lfm2", {"target_modules": "all-linear"}),
    ],
)
@pytest.mark.filterwarnings("ignore:fan_in_fan_out")
def test_what_is_added_is_what_peft_adds(tmp_path, configs, family, settings):
    expected = deltas(save_adapter(tmp_path, tiny_model(family, **CHANGES.get(family, {})), **settings))
    found = added(read_adapter("one", tmp_path, configs[family]))
    cuts = {
        "qkv_proj": ("q_proj", "k_proj", "v_proj"),
        "gate_up_proj": ("gate_proj", "up_proj"),
        "in_proj": ("b_proj", "c_proj", "x_proj"),
    }
    for module, delta in expected.items():
        *layer, own = module.split(".", 3)
        module = ".".join((*layer, OURS.get(own, own)))
        block, _, projection = module.rpartition(".")
        parts = [found.pop(f"{block}.{part}") for part in cuts.get(projection, [projection])]
        np.testing.assert_allclose(np.concatenate(parts), delta, rtol=1e-5, atol=1e-6)
    assert not found


def test_a_joined_projection_is_three_linears_that_share_their_a(tmp_path, configs):
    save_adapter(tmp_path, "phi3", target_modules=["qkv_proj"])
    modules = read_adapter("one", tmp_path, configs["phi3"]).modules
    assert [*modules][:3] == [f"{ATTENTION}.{name}" for name in ("q_proj", "k_proj", "v_proj")]
    assert [modules[f"{ATTENTION}.{name}"].b.shape for name in ("q_proj", "k_proj", "v_proj")] == [
        (4, 64),
        (4, 32),
        (4, 32),
    ]
    assert np.array_equal(modules[f"{ATTENTION}.q_proj"].a, modules[f"{ATTENTION}.v_proj"].a)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_and_an_adapter_of_the_inner_model(tmp_path, configs, dtype):
    inner = tiny_model("llama").model
    model = peft.get_peft_model(inner, peft.LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj"])).to(dtype)
    with torch.no_grad():
        model.base_model.model.layers[0].self_attn.q_proj.lora_B["default"].weight.normal_()
    model.save_pretrained(tmp_path)
    adapter = read_adapter("one", tmp_path, configs["llama"])
    layer = model.base_model.model.layers[0].self_attn.q_proj
    module = adapter.modules[f"{ATTENTION}.q_proj"]
    assert adapter.ranks == {f"model.layers.{layer}.self_attn.q_proj": 4 for layer in (0, 1)}
    assert np.array_equal(module.a, layer.lora_A["default"].weight.detach().float().numpy().T)
    assert np.array_equal(module.b, layer.lora_B["default"].weight.detach().float().numpy().T)


def test_what_an_adapter_says_about_itself(tmp_path, configs):
    save_adapter(tmp_path, "llama", target_modules=["down_proj"])
    change(tmp_path, base_model_name_or_path="org/base")
    adapter = read_adapter("french", tmp_path, configs["llama"])
    assert (adapter.name, adapter.base) == ("french", "org/base")
    assert [*adapter.modules] == ["model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj"]
    assert adapter.files == (tmp_path / "adapter_config.json", tmp_path / "adapter_model.safetensors")
    adapter.check_values()


def change(directory, **settings):
    path = directory / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


REFUSED = {
    "DoRA (use_dora)": {"use_dora": True},
    "a bias in its B (lora_bias)": {"lora_bias": True},
    "modules that were trained whole (modules_to_save)": {"modules_to_save": ["lm_head"]},
    "trained token embeddings (trainable_token_indices)": {"trainable_token_indices": [1, 2]},
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.filterwarnings("ignore:`lora_bias=True`")
def test_refused_by_name(tmp_path, configs, what):
    save_adapter(tmp_path, "llama", **REFUSED[what])
    with pytest.raises(ModelError) as error:
        read_adapter("one", tmp_path, configs["llama"])
    expected = f"{tmp_path}/adapter_config.json: the adapter has {what}, which is not supported\n  {MERGE}"
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("settings", "what", "tensor"),
    [
        ({"target_modules": ["embed_tokens"]}, "a LoRA of the embedding", "model.embed_tokens.lora_embedding_A"),
        ({"bias": "lora_only"}, "trained biases (bias)", f"{ATTENTION}.q_proj.base_layer.bias"),
        ({"target_modules": ["q_proj", "lm_head"]}, "a LoRA of lm_head", "lm_head.lora_A.weight"),
    ],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_refused_by_what_is_stored(tmp_path, configs, settings, what, tensor):
    save_adapter(tmp_path, tiny_model("llama", attention_bias=True), **settings)
    with pytest.raises(ModelError) as error:
        read_adapter("one", tmp_path, configs["llama"])
    expected = f"{tmp_path}/adapter_model.safetensors: the adapter holds {what}, which is not supported: "
    assert str(error.value) == f"{expected}base_model.model.{tensor}\n  {MERGE}"


CONFIG_FAULTS = [
    ({"peft_type": "IA3"}, "this is a IA3 adapter", "use a LoRA adapter (peft_type LORA)"),
    ({"peft_type": None}, "peft_type is missing", "use a LoRA adapter (peft_type LORA)"),
    ({"r": 0}, "r is 0", "the rank of an adapter is at least 1"),
    ({"rank_pattern": {"q_proj": 0}}, "rank_pattern.q_proj is 0", "the rank of an adapter is at least 1"),
    (
        {"init_lora_weights": "pissa_niter_4"},
        "the adapter was initialised by pissa_niter_4, which changed the weights of its base model",
        "save it as an ordinary LoRA: in peft, save_pretrained(directory, "
        "path_initial_model_for_weight_conversion=the adapter before training)",
    ),
    ({"of_tomorrow": 3}, "the adapter's setting of_tomorrow is not known, so its effect cannot be computed", MERGE),
    (
        {"lora_alpha": "8"},
        "lora_alpha: Input should be a valid number",
        "use the adapter_config.json that was saved with the adapter",
    ),
    (
        {"target_modules": "q_proj("},
        "target_modules: 'q_proj(' is not a regular expression: missing ), unterminated subpattern at position 6",
        "use the adapter_config.json that was saved with the adapter",
    ),
]


@pytest.mark.parametrize(("settings", "what", "remedy"), CONFIG_FAULTS)
def test_faults_of_the_configuration(tmp_path, configs, settings, what, remedy):
    save_adapter(tmp_path, "llama")
    change(tmp_path, **settings)
    with pytest.raises(ModelError) as error:
        read_adapter("one", tmp_path, configs["llama"])
    assert str(error.value) == f"{tmp_path}/adapter_config.json: {what}\n  {remedy}"


def test_missing_files(tmp_path, configs):
    with pytest.raises(ModelError) as error:
        read_adapter("one", tmp_path, configs["llama"])
    assert str(error.value) == (
        f"{tmp_path}: the adapter's folder has no adapter_config.json\n"
        "  give a folder that peft's save_pretrained wrote: adapter_config.json, adapter_model.safetensors"
    )
    save_adapter(tmp_path, "llama")
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError) as error:
        read_adapter("one", tmp_path, configs["llama"])
    assert str(error.value) == (
        f"{tmp_path}: the adapter's folder has no adapter_model.safetensors\n  download the whole adapter"
    )


def test_a_pickle_is_refused_and_the_remedy_converts_it(tmp_path, configs, monkeypatch):
    model = save_adapter(tmp_path, "llama")
    (tmp_path / "adapter_model.safetensors").unlink()
    torch.save(peft.get_peft_model_state_dict(model), tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError) as error:
        read_adapter("one", tmp_path, configs["llama"])
    assert error.value.what == (
        "the adapter is stored in adapter_model.bin, a pickle, which can run any code when it is opened"
    )
    command = error.value.remedy.partition('python -c "')[2].removesuffix('"')
    monkeypatch.chdir(tmp_path)
    exec(command, {})
    found = added(read_adapter("one", tmp_path, configs["llama"]))
    assert all(np.allclose(found[name], delta, atol=1e-6) for name, delta in deltas(model).items())


def refused(tmp_path, config):
    with pytest.raises(ModelError) as error:
        read_adapter("one", tmp_path, config).check_values()
    where, _, rest = str(error.value).partition(": ")
    assert where == str(tmp_path / "adapter_model.safetensors")
    return rest


Q = f"base_model.model.{ATTENTION}.q_proj.lora_"


def test_an_adapter_of_another_base(tmp_path, configs):
    save_adapter(tmp_path, tiny_model("llama", hidden_size=32))
    change(tmp_path, base_model_name_or_path="org/small")
    remedy = "\n  use an adapter that was trained on this model; this one says it was trained on org/small"
    assert refused(tmp_path, configs["llama"]) == (
        f"the adapter is of another model: {Q}A.weight has shape [4, 32], for {ATTENTION}.q_proj it must be [4, 64]"
        + remedy
    )
    save_adapter(tmp_path, tiny_model("llama", num_hidden_layers=3), target_modules=["k_proj"])
    assert refused(tmp_path, configs["llama"]) == (
        "base_model.model.model.layers.2.self_attn.k_proj.lora_A.weight adapts model.layers.2.self_attn.k_proj, "
        "which is no linear of the model\n  use an adapter that was trained on this model"
    )


def test_a_rank_that_the_configuration_does_not_give(tmp_path, configs):
    save_adapter(tmp_path, "llama")
    change(tmp_path, r=3)
    assert refused(tmp_path, configs["llama"]) == (
        f"{Q}A.weight has shape [4, 64], but adapter_config.json gives it rank 3\n"
        "  use the adapter_config.json that was saved with the adapter"
    )


def test_tensors_that_target_modules_does_not_name_and_the_other_way_round(tmp_path, configs):
    save_adapter(tmp_path, "llama")
    change(tmp_path, target_modules=["v_proj"])
    assert refused(tmp_path, configs["llama"]) == (
        f"{Q}A.weight is stored, but by target_modules {ATTENTION}.q_proj is not adapted (peft would ignore it)\n"
        "  use the adapter_config.json that was saved with the adapter"
    )
    change(tmp_path, target_modules=["q_proj", "v_proj", "o_proj"])
    assert refused(tmp_path, configs["llama"]) == (
        f"by target_modules the adapter adapts {ATTENTION}.o_proj, model.layers.1.self_attn.o_proj, "
        "but their A and B are not stored\n  download the whole adapter"
    )


def test_weights_of_a_changed_vocabulary(tmp_path, configs):
    model = tiny_adapter(tiny_model("llama"))
    model.save_pretrained(tmp_path)
    table = tiny_model("llama").model.embed_tokens.weight.detach()
    rewrite_tensors(tmp_path, lambda tensors: tensors.update({"base_model.model.model.embed_tokens.weight": table}))
    assert refused(tmp_path, configs["llama"]) == (
        "the adapter holds the embedding's weight, which is not supported: base_model.model.model.embed_tokens.weight\n"
        f"  {MERGE}"
    )


def test_tensors_that_are_missing_or_strange(tmp_path, configs):
    save_adapter(tmp_path, "llama")
    rewrite_tensors(tmp_path, lambda tensors: tensors.pop(f"{Q}B.weight"))
    assert refused(tmp_path, configs["llama"]) == (
        f"{Q}A.weight is stored without {Q}B.weight\n  download the whole adapter"
    )
    rewrite_tensors(tmp_path, lambda tensors: tensors.update(strange=torch.ones(2)))
    assert refused(tmp_path, configs["llama"]) == (
        f"the adapter holds tensors that are no A or B of a LoRA: strange\n  save it with peft, or {MERGE}"
    )
    rewrite_tensors(tmp_path, lambda tensors: tensors.clear())
    assert refused(tmp_path, configs["llama"]) == "the adapter holds no LoRA\n  download the whole adapter"


def test_nan(tmp_path, configs):
    save_adapter(tmp_path, "llama")
    rewrite_tensors(tmp_path, lambda tensors: tensors[f"{Q}B.weight"][3].fill_(float("nan")))
    assert refused(tmp_path, configs["llama"]) == (
        f"the tensor {Q}B.weight holds 4 NaN or infinite values\n"
        "  use an earlier checkpoint of it, or train it again with a lower learning rate"
    )


def test_names_are_matched_as_peft_matches_them(tmp_path):
    names = [name for name, _ in tiny_model("llama").named_modules() if name.endswith("_proj")]
    for settings in (
        {"target_modules": ["proj"], "exclude_modules": ["lm_head"]},
        {
            "target_modules": ["q_proj", "layers.1.mlp.up_proj"],
            "layers_to_transform": [1],
            "layers_pattern": ["layers"],
        },
        {"target_modules": ["q_proj"], "layers_to_transform": [1], "layers_pattern": ["h"]},
        {"target_modules": ["q_proj"], "layers_to_transform": []},
        {"target_modules": r".*\.q_proj|lm_head", "exclude_modules": r".*0.*"},
    ):
        config = peft.LoraConfig(**settings)
        config.save_pretrained(tmp_path)
        ours = read_peft_lora(tmp_path)
        for name in names:
            theirs = peft.tuners.tuners_utils.check_target_module_exists(config, name)
            assert ours.targets(name) == bool(theirs), (settings, name)
