"""The supported chips and the abilities of their NPUs."""

from __future__ import annotations

from dataclasses import dataclass

from qairt.errors import RecipeError

BLOCK_QUANTIZATION_SINCE = 69
"""The first HTP version with block-quantized (LPBQ) weights."""
WEIGHT_SHARING_SINCE = 73
"""The first HTP version whose context binaries can share one copy of the weights among graphs."""

EXTENDED_UDMA_SINCE = 81
"""The first HTP version with 64-bit DMA (`extended_udma`); the compiler refuses graphs for older ones with it."""


@dataclass(frozen=True)
class Soc:
    """A chip, with the compiler's numbers for it."""

    name: str
    id: int
    """The compiler's id of the chip (`soc_model`)."""
    htp: int
    """The NPU's architecture, for example 75 for v75."""
    vtcm_mb: int
    """Tightly coupled memory of the NPU."""


SOCS = {
    soc.name: soc
    for soc in (
        Soc("SM8350", 30, 68, 4),
        Soc("SM8450", 36, 69, 8),
        Soc("SM8475", 42, 69, 8),
        Soc("SM8550", 43, 73, 8),
        Soc("SM8650", 57, 75, 8),
        Soc("SM8750", 69, 79, 8),
        Soc("SM8850", 87, 81, 8),
        Soc("SC8380XP", 60, 73, 8),
        Soc("SC8480XP", 88, 81, 8),
        Soc("SA8295", 39, 68, 8),
        Soc("SA8255", 52, 73, 8),
        Soc("QCS9100", 77, 73, 8),
        Soc("QCM6490", 93, 68, 2),
        Soc("SXR2230P", 53, 69, 8),
    )
}


def parse_soc(details: str) -> Soc:
    """Parse `chipset:SM8650`, ignoring case.

    Raises:
        RecipeError: the form is wrong or the chip unknown; lists the known ones.
    """
    kind, colon, name = details.strip().partition(":")
    if kind.strip().lower() != "chipset" or not colon:
        raise RecipeError(
            f"soc_details {details!r} is not of the form chipset:NAME",
            where="soc_details",
            remedy=f"write for example chipset:SM8650; known chips: {', '.join(sorted(SOCS))}",
        )
    return soc_named(name, where="soc_details")


def soc_named(name: str, *, where: str) -> Soc:
    """The chip `SM8650`, ignoring case.

    Args:
        where: the setting or option that names it.

    Raises:
        RecipeError: it is unknown; lists the known ones.
    """
    soc = SOCS.get(name.strip().upper())
    if soc is None:
        raise RecipeError(f"unknown chip {name.strip()!r}", where=where, remedy=f"use one of {', '.join(sorted(SOCS))}")
    return soc


def require_block_quantization(soc: Soc) -> None:
    """
    Raises:
        RecipeError: the chip's NPU does not support block-quantized weights.
    """
    if soc.htp < BLOCK_QUANTIZATION_SINCE:
        raise RecipeError(
            f"{soc.name} (HTP v{soc.htp}) does not support block-quantized (LPBQ) weights: they need HTP "
            f"v{BLOCK_QUANTIZATION_SINCE}",
            where="stages.quantization.recipe",
            remedy="use an 8-bit technique such as minmax, or another chip",
        )


def require_vtcm(soc: Soc, megabytes: int, *, where: str) -> None:
    """
    Raises:
        RecipeError: the chip has less; the compiler takes any number, and the graph would not load.
    """
    if megabytes > soc.vtcm_mb:
        raise RecipeError(
            f"{megabytes} MB of VTCM are more than the {soc.vtcm_mb} MB of {soc.name}",
            where=where,
            remedy=f"use at most {soc.vtcm_mb}, or leave it out for all of it",
        )


def require_extended_udma(soc: Soc, *, where: str) -> None:
    """
    Raises:
        RecipeError: the chip's NPU has no 64-bit DMA.
    """
    if soc.htp < EXTENDED_UDMA_SINCE:
        able = ", ".join(sorted(name for name, other in SOCS.items() if other.htp >= EXTENDED_UDMA_SINCE))
        raise RecipeError(
            f"{soc.name} (HTP v{soc.htp}) has no extended UDMA: that needs HTP v{EXTENDED_UDMA_SINCE}",
            where=where,
            remedy=f"set it to false, or use one of {able}",
        )


def require_weight_sharing(soc: Soc) -> None:
    """
    Raises:
        RecipeError: the chip's NPU cannot share weights between graphs.
    """
    if soc.htp < WEIGHT_SHARING_SINCE:
        able = ", ".join(sorted(name for name, other in SOCS.items() if other.htp >= WEIGHT_SHARING_SINCE))
        raise RecipeError(
            f"{soc.name} (HTP v{soc.htp}) cannot share weights between graphs: that needs HTP v{WEIGHT_SHARING_SINCE}",
            where="soc_details",
            remedy=f"use one of {able}",
        )
