"""The table of chips."""

from __future__ import annotations

import pytest

from qairt.errors import RecipeError
from qairt.toolchain.soc import (
    SOCS,
    Soc,
    parse_soc,
    require_block_quantization,
    require_extended_udma,
    require_vtcm,
    require_weight_sharing,
)

ALL = (
    "QCM6490, QCS9100, SA8255, SA8295, SC8380XP, SC8480XP, SM8350, SM8450, SM8475, SM8550, SM8650, SM8750, SM8850, "
    "SXR2230P"
)


@pytest.mark.parametrize("details", ["chipset:SM8650", " chipset: sm8650 ", "CHIPSET:Sm8650"])
def test_a_chip_is_found_by_name(details):
    assert parse_soc(details) == Soc("SM8650", 57, 75, 8)


def test_an_unknown_chip_lists_the_known_ones():
    with pytest.raises(RecipeError) as caught:
        parse_soc("chipset:SM9999")
    assert str(caught.value) == f"soc_details: unknown chip 'SM9999'\n  use one of {ALL}"


@pytest.mark.parametrize("details", ["SM8650", "dsp:SM8650", ""])
def test_another_form_is_refused(details):
    with pytest.raises(RecipeError) as caught:
        parse_soc(details)
    assert str(caught.value) == (
        f"soc_details: soc_details {details!r} is not of the form chipset:NAME\n"
        f"  write for example chipset:SM8650; known chips: {ALL}"
    )


def test_block_quantization_needs_v69():
    require_block_quantization(SOCS["SM8450"])
    with pytest.raises(RecipeError) as caught:
        require_block_quantization(SOCS["SM8350"])
    assert str(caught.value) == (
        "stages.quantization.recipe: SM8350 (HTP v68) does not support block-quantized (LPBQ) weights: "
        "they need HTP v69\n"
        "  use an 8-bit technique such as minmax, or another chip"
    )


def test_weight_sharing_needs_v73():
    require_weight_sharing(SOCS["SM8550"])
    with pytest.raises(RecipeError) as caught:
        require_weight_sharing(SOCS["SM8475"])
    assert str(caught.value) == (
        "soc_details: SM8475 (HTP v69) cannot share weights between graphs: that needs HTP v73\n"
        "  use one of QCS9100, SA8255, SC8380XP, SC8480XP, SM8550, SM8650, SM8750, SM8850"
    )


def test_a_graph_uses_no_more_vtcm_than_the_chip_has():
    require_vtcm(SOCS["SM8650"], 8, where="x")
    with pytest.raises(RecipeError) as caught:
        require_vtcm(SOCS["QCM6490"], 4, where="stages.generate_context_binary.vtcm_mb")
    assert str(caught.value) == (
        "stages.generate_context_binary.vtcm_mb: 4 MB of VTCM are more than the 2 MB of QCM6490\n"
        "  use at most 2, or leave it out for all of it"
    )


def test_extended_udma_needs_v81():
    require_extended_udma(SOCS["SM8850"], where="x")
    with pytest.raises(RecipeError) as caught:
        require_extended_udma(SOCS["SM8650"], where="stages.generate_context_binary.extended_udma")
    assert str(caught.value) == (
        "stages.generate_context_binary.extended_udma: SM8650 (HTP v75) has no extended UDMA: that needs HTP v81\n"
        "  set it to false, or use one of SC8480XP, SM8850"
    )
