"""Checkpoints that also read pictures: the text model in them computes what the whole does without a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import IDS, SIZES, assert_close
from transformers import AutoConfig, AutoModelForImageTextToText

from qairt.model.describe import describe_model
from qairt.model.multimodal import WRAPPERS, text_weight
from qairt.model.parameters import open_parameters
from qairt.model.reference import Reference

VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXTS: dict[str, dict[str, Any]] = {
    "gemma3": {"model_type": "gemma3_text", "sliding_window": 8, "query_pre_attn_scalar": 24, "num_hidden_layers": 6},
    "llava": {"model_type": "llama"},
    "mistral3": {"model_type": "mistral", "sliding_window": None},
}


@pytest.mark.parametrize("wrapper", sorted(WRAPPERS))
def test_logits_are_those_of_the_whole_model(wrapper: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    text = {**SIZES, **TEXTS[wrapper]}
    vision = {
        **VISION,
        "model_type": {"gemma3": "siglip_vision_model", "llava": "clip_vision_model"}.get(wrapper, "pixtral"),
    }
    config = AutoConfig.for_model(wrapper, text_config=text, vision_config=vision)
    model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in name else 0.0, std=0.2)
        expected = model(input_ids=torch.tensor([IDS])).logits[0].numpy()
    model.save_pretrained(tmp_path)
    description = describe_model(tmp_path)
    assert description.config.family == text["model_type"]
    assert description.notices[0] == f"config.json: of this {wrapper} model only the text model is read: no vision"
    found = Reference(open_parameters(tmp_path, description.config)).logits(IDS)
    assert_close(found.numpy(), expected)


def test_names_of_weights() -> None:
    assert text_weight("language_model.model.layers.0.mlp.up_proj.weight") == "model.layers.0.mlp.up_proj.weight"
    assert text_weight("model.language_model.norm.weight") == "model.norm.weight"
    assert text_weight("language_model.lm_head.weight") == "lm_head.weight"
    assert text_weight("lm_head.weight") == "lm_head.weight"
    assert text_weight("vision_tower.patch_embedding.weight") is None
    assert text_weight("model.multi_modal_projector.linear_1.weight") is None
