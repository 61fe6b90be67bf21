"""Parts that are too large are refused before work starts, with the number of parts that fits."""

from __future__ import annotations

import pytest

from qairt.errors import RecipeError
from qairt.model.parts import plan_split
from qairt.toolchain.limits import GRAPH_BYTES, require_parts_fit

GB = 1_000_000_000


def parts(num_splits: int, *, layer: float = 0.9, head: float = 2.1, embedding: float = 2.1, layers: int = 32):
    return plan_split(
        embedding_bytes=int(embedding * GB),
        layer_bytes=[int(layer * GB)] * layers,
        head_bytes=int(head * GB),
        num_splits=num_splits,
    )


def test_the_number_of_parts_it_names_fits_and_one_less_does_not():
    with pytest.raises(RecipeError) as caught:
        require_parts_fit(parts(2), replan=parts)
    assert str(caught.value) == (
        "stages.split_model.num_splits: part 2 of 2 would hold 7.19 GiB of weights at 8 bits; the limit of one "
        "serialized graph is 2 GiB\n  set num_splits to 5 or more"
    )
    require_parts_fit(parts(5))
    with pytest.raises(RecipeError):
        require_parts_fit(parts(4))


def test_without_another_plan_it_says_which_way_to_go():
    with pytest.raises(RecipeError, match=r"\n  increase num_splits, or use fewer bits per weight$"):
        require_parts_fit(parts(2))


def test_fewer_bits_fit_in_fewer_parts():
    require_parts_fit(parts(3), bits_per_weight=4.25)
    with pytest.raises(RecipeError):
        require_parts_fit(parts(3), bits_per_weight=8)


def test_a_layer_that_is_too_large_alone_says_so():
    with pytest.raises(RecipeError) as caught:
        require_parts_fit(
            parts(5, layer=4 * GRAPH_BYTES / GB + 1, layers=8), replan=lambda n: parts(n, layers=8, layer=9)
        )
    assert (
        "no num_splits fits: the embedding, one layer or lm_head alone is too large; use fewer bits per weight"
        in str(caught.value)
    )
