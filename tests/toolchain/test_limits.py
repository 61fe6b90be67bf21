"""Parts that are too large are refused before work starts, with the number of parts that fits."""

from __future__ import annotations

from functools import partial

import pytest

from qairt.errors import RecipeError
from qairt.model.parts import plan_split
from qairt.quant.config import TechniqueConfig
from qairt.toolchain.costs import compile_peak, largest_peak
from qairt.toolchain.limits import GRAPH_BYTES, Ram, bits_of_layers, bits_per_weight, fewest_splits, require_parts_fit

GB = 1_000_000_000


def parts(num_splits: int, *, layer: float = 0.9, head: float = 2.1, embedding: float = 2.1, layers: int = 32):
    return plan_split(
        embedding_bytes=int(embedding * GB),
        layer_bytes=[int(layer * GB)] * layers,
        head_bytes=int(head * GB),
        num_splits=num_splits,
    )


def fewest(replan, *, memory, run=None, least=2, technique=None, sdk_quantizer=False):
    peak_of = partial(largest_peak, bits=bits_of_layers(technique), sdk_quantizer=sdk_quantizer)
    bits = bits_per_weight(technique)
    return fewest_splits(replan, bits_per_weight=bits, peak_of=peak_of, ram=Ram.of(memory, run), least=least)


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
    assert "no num_splits fits: the smallest part that can be made is too large; use fewer bits per weight" in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("memory", "run", "bits", "number", "why"),
    [
        (200, None, 8, 5, "with 4, one would hold 2.70 GB of weights, more than the 2.15 GB of one graph"),
        (24, None, 4, 6, "with 5, one takes 13 GB to make, more than half of this machine's 24 GB of RAM"),
        (200, 24, 4, 6, "with 5, one takes 13 GB to make, more than half of the 24 GB of RAM that the run may take"),
        (24, 200, 4, 6, "with 5, one takes 13 GB to make, more than half of this machine's 24 GB of RAM"),
        (
            8,
            None,
            4,
            10,
            "no number of parts makes one in less than half of this machine's 8.00 GB of RAM: with 10, the largest"
            " takes 6.17 GB",
        ),
    ],
)
def test_auto_takes_the_fewest_that_fit_a_graph_and_the_ram(memory, run, bits, number, why):
    technique = TechniqueConfig(technique="lpbq") if bits == 4 else None
    chosen, said = fewest(parts, technique=technique, memory=memory * GB, run=run and run * GB)
    assert (chosen, said) == (number, why)
    if not why.startswith("no number"):
        assert max(compile_peak(part, bits) for part in parts(chosen)) <= min(memory, run or memory) * GB / 2
        require_parts_fit(parts(chosen), bits_per_weight=bits_per_weight(technique))


def test_auto_counts_the_sdks_quantizer_which_holds_a_whole_part():
    technique = TechniqueConfig(technique="lpbq")
    chosen, said = fewest(parts, technique=technique, memory=24 * GB, sdk_quantizer=True)
    assert (chosen, said) == (10, "with 9, one takes 14 GB to make, more than half of this machine's 24 GB of RAM")


def test_auto_of_a_small_model_is_the_embedding_and_the_rest():
    small = partial(parts, layer=0.01, layers=4, head=0.1, embedding=0.1)
    chosen = fewest(small, memory=9 * GB)
    assert chosen == (2, "the parts need not be smaller")


def test_auto_of_too_few_layers_is_refused():
    with pytest.raises(RecipeError, match="too large"):
        fewest(lambda n: parts(n, layers=1), memory=GB, least=3)
