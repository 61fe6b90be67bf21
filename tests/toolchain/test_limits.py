"""Parts that are too large are refused before work starts, with the number of parts that fits."""

from __future__ import annotations

import pytest

from qairt.errors import RecipeError
from qairt.graph.parts import plan_split
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
        require_parts_fit(parts(2))
    assert str(caught.value) == (
        "stages.split_model.num_splits: part 2 of 2 would hold 7.20 GiB of weights at 8 bits; one serialized graph may "
        "hold 2 GiB\n  set num_splits to 5 or more"
    )
    require_parts_fit(parts(5))
    with pytest.raises(RecipeError):
        require_parts_fit(parts(4))


@pytest.mark.parametrize("layers", [1, 3, 17, 32, 80])
@pytest.mark.parametrize("head", [0.1, 2.1, 7])
def test_the_number_of_parts_is_the_smallest_for_every_model(layers, head):
    def fits(num_splits: int) -> bool:
        try:
            require_parts_fit(parts(num_splits, layers=layers, head=head, layer=1.5))
        except RecipeError:
            return False
        return True

    smallest = next(splits for splits in range(2, layers + 2) if fits(splits))
    for splits in range(2, smallest):
        with pytest.raises(RecipeError, match=rf"set num_splits to {smallest} or more$"):
            require_parts_fit(parts(splits, layers=layers, head=head, layer=1.5))


def test_fewer_bits_fit_in_fewer_parts():
    require_parts_fit(parts(3), bits_per_weight=4.25)
    with pytest.raises(RecipeError):
        require_parts_fit(parts(3), bits_per_weight=8)


def test_a_layer_that_is_too_large_alone_says_so():
    with pytest.raises(RecipeError) as caught:
        require_parts_fit(parts(5, layer=4 * GRAPH_BYTES / GB + 1, layers=8))
    assert "no num_splits is enough: the embedding, one layer or lm_head alone is too large; use fewer bits" in str(
        caught.value
    )
