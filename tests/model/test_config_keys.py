"""What each key of a configuration means is what the installed transformers takes it to mean."""

from __future__ import annotations

from dataclasses import MISSING, fields

import pytest
from transformers import GenerationConfig, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from qairt.model.config_keys import treatment, unknown_keys
from qairt.model.families import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_of_the_installed_configuration_class_is_known(family):
    keys = {each.name for each in fields(CONFIG_MAPPING[family])}
    keys |= GenerationConfig._get_default_generation_params().keys()
    assert {key for key in keys if treatment(FAMILIES[family], key) == "unknown"} == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_defaults_are_those_of_the_installed_class(family):
    stated = {each.name: each.default for each in fields(CONFIG_MAPPING[family]) if each.default is not MISSING}
    ours = FAMILIES[family].defaults
    assert {key: stated[key] for key in ours} == ours
    every = set().union(*(each.defaults for each in FAMILIES.values()))
    usual = {key for key in stated if key in every} - {*FAMILIES[family].unread}
    assert usual == set(ours), "a default that the family's class has, and ours lack"
    local = FAMILIES[family].local_rope_theta
    theta = FAMILIES[family].rope_theta
    assert CONFIG_MAPPING[family].default_theta == (
        theta if local in (None, theta) else {"global": theta, "local": local}
    )


def test_every_key_of_the_base_class_is_read_harmless_or_refused():
    for each in fields(PreTrainedConfig):
        assert treatment(FAMILIES["llama"], each.name) != "unknown", each.name


def test_what_a_family_does_not_have_is_unknown_unless_it_is_off():
    stated = {"attention_bias": True, "mlp_bias": False, "use_cache": True, "scale_emb": 12, "qk_layernorm": None}
    assert unknown_keys(FAMILIES["phi3"], stated) == ["attention_bias", "scale_emb"]
    assert unknown_keys(FAMILIES["llama"], stated) == ["scale_emb"]
