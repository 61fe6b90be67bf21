"""`qairt estimate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from qairt.cli.console import emit, emit_json
from qairt.cli.options import CacheDir, Json, Overrides, Recipe


@dataclass(frozen=True)
class Assumptions:
    """What the estimate is for."""

    soc: Annotated[
        list[str] | None,
        typer.Option(
            "--soc", metavar="NAME", help="A chip, such as SM8650; may be repeated.", show_default="every known chip"
        ),
    ] = None
    prompt: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Tokens of the prompt, for the time to the first token.", show_default="256"
        ),
    ] = None
    bandwidth: Annotated[
        float | None,
        typer.Option(metavar="GB/S", help="Memory bandwidth in place of the published one.", show_default=False),
    ] = None
    tops: Annotated[
        float | None,
        typer.Option(metavar="N", help="The NPU's peak in TOPS in place of the published one.", show_default=False),
    ] = None


def estimate(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    assumptions: Assumptions,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Show the most that each chip could do with the model.

    Ceilings follow from the bytes that a token reads and the published memory bandwidth of a chip. No program reaches
    them; they tell which chip, context and number of bits are worth trying. Sizes are those of the finished binaries,
    or follow from the recipe before there are any.

    \b
    Examples:
      qairt estimate recipe.yaml
      qairt estimate recipe.yaml --soc SM8750 --prompt 1024
      qairt estimate recipe.yaml stages.prepare_exports.context_length=4096
      qairt estimate recipe.yaml --soc QCM6490 --bandwidth 25
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.text.estimate import estimate_lines
    from qairt.errors import RecipeError
    from qairt.results.estimate import PROMPT_TOKENS, latest_timing, workload_of
    from qairt.results.estimate import estimate as estimate_chip
    from qairt.toolchain.chip_sheet import sheet_of
    from qairt.toolchain.soc import SOCS, parse_soc, soc_named

    run = open_pipeline(recipe, overrides, cache_dir).finished()
    run.require_generating()
    if run.settings.backend == "CPU":
        what = "with backend CPU there are no graphs for an NPU"
        raise RecipeError(what, where=run.recipe.where("backend"), remedy="set backend: HTP")
    workload, built_for = workload_of(run.env, run.plan), parse_soc(run.settings.soc_details).name
    prompt = assumptions.prompt or PROMPT_TOKENS
    chips = dict.fromkeys(soc_named(name, where="--soc") for name in assumptions.soc or SOCS)
    found = [
        estimate_chip(
            workload,
            chip,
            sheet_of(chip.name, bandwidth_gb_s=assumptions.bandwidth, tops=assumptions.tops),
            prompt_tokens=prompt,
        )
        for chip in chips
    ]
    timing = latest_timing(run.state_folder)
    if as_json:
        measured = None if timing is None else {"soc": built_for, **asdict(timing)}
        emit_json({"workload": asdict(workload), "chips": [asdict(chip) for chip in found], "measured": measured})
        return
    for line in estimate_lines(workload, found, built_for=built_for, prompt=prompt, timing=timing):
        emit(line)
