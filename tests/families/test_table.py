"""Every family has its row in the table of tiers."""

from __future__ import annotations

import pytest
from tiers import (
    COMPILED,
    COMPILED_EMBEDDERS,
    GENIE,
    NOT_COMPILED,
    SAMPLED,
    embedding_tiers,
    table,
    tiers,
)
from tiny_embedders import EMBEDDERS
from tiny_models import TINY

from qairt.model.families import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_its_row(family: str) -> None:
    quantized, compiled, genie = tiers(family)
    assert quantized, f"{family} needs a tiny model"
    assert compiled, f"say in tests/support/tiers.py whether {family} was compiled, or why not"
    is_compiled = family not in NOT_COMPILED
    told = ("float", "quantized", *(["emulated"] if is_compiled else []), *(["genie"] if genie else []))
    assert FAMILIES[family].proven == told, "what `qairt models` says is what tests hold"


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.embedding is not None])
def test_embedding_models_have_their_row(family: str) -> None:
    quantized, compiled, genie = embedding_tiers(family)
    embedding = FAMILIES[family].embedding
    assert embedding is not None
    assert quantized, f"{family} needs a tiny embedding model"
    told = ("float", "quantized", *(["emulated"] if compiled else []), *(["genie"] if genie else []))
    assert embedding.proven == told, "what `qairt models` says is what tests hold"


def test_the_table_names_what_there_is() -> None:
    assert {*COMPILED, *GENIE, *SAMPLED} <= TINY.keys()
    assert NOT_COMPILED.keys() <= FAMILIES.keys()
    assert EMBEDDERS.keys() >= set(COMPILED_EMBEDDERS)
    assert len(GENIE) >= 3
    rows = [[name, f"{name} (embedding)"] if family.embedding else [name] for name, family in FAMILIES.items()]
    assert [line.split("  ")[0] for line in table()] == ["family", *(name for row in rows for name in row)]
