"""`qairt estimate` as text: what a token reads, a table of chips, where the figures come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qairt.amounts import size
from qairt.cli.console import styled, table, wrapped
from qairt.report.format import NONE, rate, wait

if TYPE_CHECKING:
    from qairt.device.genie_output import Timing
    from qairt.results.estimate import AtMost, ChipEstimate, Workload


def estimate_lines(
    workload: Workload, chips: Sequence[ChipEstimate], *, built_for: str, prompt: int, timing: Timing | None
) -> list[str]:
    """The whole estimate.

    Args:
        built_for: the recipe's chip, which is marked.
        prompt: tokens of the prompt.
        timing: of the newest answer on a device.
    """
    lines = [*_workload_lines(workload, built_for), "", *_chip_table(chips, built_for, prompt), ""]
    if timing is not None and timing.tokens_per_second is not None:
        lines.append(f"Measured on a device: {timing.tokens_per_second:.1f} tokens/s, for {built_for}")
    lines.append(
        wrapped(
            "Ceilings: no program is faster, real runs stay below. They count the bytes that a call reads, and its "
            "operations where the NPU's peak is published (b: bytes only, so the real limit is lower).",
            indent=2,
        )
    )
    return [*lines, *_sources(chips), *_obstacles(chips)]


def at_most_lines(found: AtMost) -> list[str]:
    """In a sentence or two, what the recipe's chip could do; for plans and results."""
    soc, workload = found.chip.soc.name, found.workload
    longest = workload.contexts[-1]
    reads = f"a token reads {size(workload.call_bytes(longest))} at context length {longest.cl:,}"
    rates = [f"{rate(each.decode)} tokens/s at context length {each.cl:,}" for each in found.chip.ceilings]
    if found.chip.sheet.bandwidth is None:
        lines = [f"{soc}: {reads}; its memory bandwidth is not published"]
    elif len(rates) == 1:
        lines = [f"At most {rates[0]} on {soc}: a token reads {size(workload.call_bytes(longest))}"]
    else:
        lines = [f"At most {', '.join(rates)} on {soc}: {reads}"]
    if workload.experts is not None:
        lines.append(f"A token reads {experts_sentence(workload)}")
    return [*lines, *_obstacles([found.chip])]


def experts_sentence(workload: Workload) -> str:
    """What a mixture of experts costs: the bytes of experts that are read in vain."""
    assert workload.experts is not None
    chosen, count = workload.experts
    idle = size(workload.idle_expert_bytes)
    return f"all {count} experts of each layer, {idle} for those it is not given to: it is given to {chosen}"


def _workload_lines(workload: Workload, built_for: str) -> list[str]:
    origin = f"finished, for {built_for}" if workload.measured else "estimated from the recipe"
    rows = [
        ("binaries", f"{size(sum(part.bytes for part in workload.parts))} in {len(workload.parts)} ({origin})"),
        ("a token reads", f"{size(workload.weights_read)} of weights"),
    ]
    if workload.experts is not None:
        rows.append(("", experts_sentence(workload)))
    rows += [
        ("", f"{size(workload.cache_bytes(context))} of keys and values at context length {context.cl:,}")
        for context in workload.contexts
    ]
    return table(rows, header=("model", ""))


def _chip_table(chips: Sequence[ChipEstimate], built_for: str, prompt: int) -> list[str]:
    rows = []
    for chip in chips:
        marked = f"{chip.soc.name}{' *' if chip.soc.name == built_for else ''}"
        for place, ceiling in enumerate(chip.ceilings):
            rows.append(
                (
                    *((marked, f"v{chip.soc.htp}", f"{chip.soc.vtcm_mb} MB") if place == 0 else ("", "", "")),
                    f"{ceiling.cl:,}",
                    rate(ceiling.decode),
                    rate(ceiling.prompt) + (" b" if ceiling.prompt and chip.sheet.tops is None else ""),
                    wait(ceiling.first_token) if prompt < ceiling.cl else NONE,
                    size(ceiling.dram),
                    "" if place else ("no" if chip.obstacles else "yes"),
                )
            )
    header = (
        "chip",
        "HTP",
        "VTCM",
        "context",
        "tokens/s",
        "prompt tokens/s",
        f"first token ({prompt:,})",
        "DRAM",
        "fits",
    )
    signs = ["* the recipe's chip", "? memory bandwidth not published"]
    if any(prompt >= ceiling.cl for chip in chips for ceiling in chip.ceilings):
        signs.append(f"{NONE} no room for the prompt and an answer")
    return [
        styled(f"At most ({'; '.join(signs)}):", "bold"),
        *table(rows, header=header, right=(1, 2, 3, 4, 5, 6, 7)),
    ]


def _sources(chips: Sequence[ChipEstimate]) -> list[str]:
    by_source: dict[str, list[str]] = {}
    for chip in chips:
        if chip.sheet.bandwidth is not None:
            text = f"{chip.sheet.bandwidth / 1e9:g} GB/s ({chip.sheet.bandwidth_source})"
            if chip.sheet.tops is not None:
                text += f"; {chip.sheet.tops:g} TOPS ({chip.sheet.tops_source})"
        else:
            text = "bandwidth not published: give --bandwidth"
        by_source.setdefault(text, []).append(chip.soc.name)
    return [wrapped(f"  {', '.join(names)}: {text}", indent=4) for text, names in by_source.items()]


def _obstacles(chips: Sequence[ChipEstimate]) -> list[str]:
    found: dict[str, list[str]] = {}
    for chip in chips:
        for obstacle in chip.obstacles:
            found.setdefault(obstacle, []).append(chip.soc.name)
    return [wrapped(f"Does not fit {', '.join(names)}: {text}", indent=2) for text, names in found.items()]
