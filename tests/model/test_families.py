"""Every family computes what transformers computes: in torch, and as the runtime runs its graphs."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path

import numpy as np
import pytest
from tiny_models import IDS, TINY, assert_close, hf_decoded, hf_logits, save_tiny
from tiny_parts import float_parts
from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from qairt.errors import ModelError
from qairt.model.describe import describe_model
from qairt.model.families import FAMILIES
from qairt.model.hf_config import family_of
from qairt.model.parameters import Parameters, open_parameters
from qairt.model.reference import Reference
from qairt.runtime.chain import PartChain

PROMPT = 30


def opened(directory: Path) -> Parameters:
    return open_parameters(directory, describe_model(directory).config)


@pytest.mark.parametrize("name", TINY)
def test_logits_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    family, changes = TINY[name]
    model = save_tiny(tmp_path, family, **changes)
    parameters = opened(tmp_path)
    assert parameters.config.family == family

    whole, decoded = hf_logits(model, IDS), hf_decoded(model, IDS, PROMPT)
    reference = Reference(parameters)
    assert_close(reference.logits(IDS).numpy(), whole)
    rows = [reference.prefill(IDS[:PROMPT])] + [reference.decode(token) for token in IDS[PROMPT:]]
    assert_close(np.stack(rows), decoded)

    for single in (False, True):
        graphs = tmp_path / f"single-{single}"
        parts = float_parts(graphs, parameters, ars=(8, 1), cl=len(IDS), num_splits=3, single_heads=single)
        with PartChain(parts, parameters.config) as chain:
            rows = [*chain.logits(IDS[:PROMPT]), *(chain.decode(token)[None] for token in IDS[PROMPT:])]
            assert_close(np.concatenate(rows), whole)


def test_every_file_of_the_package_is_a_family_with_a_tiny_model() -> None:
    assert len(FAMILIES) > 20
    for name, family in FAMILIES.items():
        assert family.tiny, name
        assert family.source, name
        assert family.models, name
        assert MODEL_FOR_CAUSAL_LM_MAPPING_NAMES[name] == family.architecture


def test_no_two_families_mean_different_modules_by_one_name() -> None:
    renamed = [pair for family in FAMILIES.values() for pair in family.renamed.items()]
    assert len(dict(renamed)) == len(set(renamed))


NOTHING_BUT_A_FAMILY = {
    *("arcee", "cohere_compass_text", "cwm", "gemma", "gemma4_assistant", "gemma4_unified_assistant"),
    *("gemma4_unified_text", "glm", "granite_swa", "helium", "hyperclovax", "internlm3", "iquestcoder", "jais2"),
    *("seed_oss", "vaultgemma"),
}
"""Models of transformers of which no missing feature is known: most differ by names or a combination of features."""


def test_of_every_other_model_of_transformers_the_missing_feature_is_told() -> None:
    silent = set()
    for name, architecture in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items():
        if name in FAMILIES or name == "gemma3":  # of Gemma 3 with a vision tower, the text model is read
            continue
        defaults = {each.name: each.default for each in fields(CONFIG_MAPPING[name]) if each.default is not MISSING}
        stated = defaults | {"model_type": name, "architectures": [architecture]}
        with pytest.raises(ModelError) as raised:
            family_of(stated, Path("config.json"))
        if ": it needs " not in raised.value.what:
            silent.add(name)
    assert silent == NOTHING_BUT_A_FAMILY
