"""`qairt verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qairt.amounts import count, duration
from qairt.cli import exit_codes
from qairt.cli.console import others_to_stderr, say, say_json, styled, table, tell
from qairt.cli.options import CacheDir, Json, Overrides, Recipe

if TYPE_CHECKING:
    from qairt.runtime.verify_result import LayerCost, PartFidelity, RungFidelity, Verification

_LAYERS = 8
"""Layers that are listed by cost; `--json` has all."""
_BAR = 24


def verify(
    recipe: Recipe,
    overrides: Overrides = None,
    rung: Annotated[
        str | None, typer.Option(metavar="NAME", help="This rung alone, such as split_model or htp_emulator.")
    ] = None,
    part: Annotated[int | None, typer.Option(metavar="N", help="This part alone, counted from 1.")] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Tokens of text that the chained parts read. Left out: up to 256, and on the emulator one call of"
            " the largest AR and one token.",
        ),
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Say, stage by stage, how far the result is from the float model.

    Every finished stage's graphs run on the same text. SQNR is in dB: how much larger the float model's values are
    than the error, over all tokens but the first; the worst output of each part counts. `isolated` runs a part on the
    float model's own inputs, `chained` on what the part before gave. Of quantized parts `isolated` is what must reach
    the threshold; chained, their errors add up.

    Exit code 1 when a part falls below what the recipe asks (verify.min_sqnr_db). What was measured is kept, and said
    again at once the next time.

    \b
    Examples:
      qairt verify recipe.yaml
      qairt verify recipe.yaml --rung quantize --part 2
      qairt verify recipe.yaml verify.min_sqnr_db.quantize=20
    """
    from qairt.cli.recipe_argument import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    with others_to_stderr():
        found = pipeline.verify(
            rung.replace("-", "_") if rung is not None else None, part=part, tokens=tokens, say=tell
        )
        if as_json:
            say_json(as_data(found))
        else:
            for line in told(found):
                say(line)
    raise typer.Exit(exit_codes.DONE if found.first_below() is None else exit_codes.FAILED)


def as_data(found: Verification) -> dict[str, object]:
    """Everything that was measured, and the judgement."""
    below = found.first_below()
    return found.model_dump(mode="json") | {
        "parts": [part.model_dump(mode="json") | {"passes": part.passes} for part in found.parts()],
        "first_below": below.model_dump(mode="json") if below else None,
    }


def told(found: Verification) -> list[str]:
    """The answer as people read it: a line for each part of each rung, the costliest layers, the verdict."""
    lines = []
    if found.rungs:
        header = ("rung", "part", "isolated", "chained", "needs", "top-1", "KL", "max error", "", "worst output")
        rows = [_row(part) for part in found.parts()]
        lines += table(rows, header=header, right=(1, 2, 3, 4, 5, 6, 7))
    for skipped in found.skipped:
        lines.append(f"{skipped.rung}: skipped: {skipped.why}")
    for measured in found.rungs:
        lines += _beside_cpu(measured)
        if measured.layers:
            lines += ["", *_layer_lines(measured)]
    return [*lines, "", _verdict(found)]


def _row(part: PartFidelity) -> tuple[str, ...]:
    return (
        part.rung,
        str(part.part),
        _db(part.isolated_db),
        _db(part.chained_db),
        f"{part.needed_db:.0f}",
        "" if part.top1 is None else f"{part.top1:.1%}",
        "" if part.kl is None else f"{part.kl:.2g}",
        f"{part.max_error:.1e}",
        "ok" if part.passes else "LOW",
        part.worst,
    )


def _db(value: float | None) -> str:
    from qairt.runtime.verify_measure import MOST_DB

    return "" if value is None else "equal" if value >= MOST_DB else f"{value:.1f}"


def _beside_cpu(rung: RungFidelity) -> list[str]:
    """How close the emulator came to the CPU on the same graphs."""
    found = [output for output in rung.outputs if output.cpu_db is not None]
    if not found:
        return []
    worst = min(found, key=lambda output: output.cpu_db or 0.0)
    return [
        f"{rung.rung}: against the CPU on the same graphs and inputs at least {_db(worst.cpu_db)} dB"
        f" ({worst.output} of part {worst.part}, AR {worst.ar}, {worst.way})"
    ]


def _layer_lines(rung: RungFidelity) -> list[str]:
    """The costliest pieces of the decoder, each with a bar as long as its cost."""
    costs = rung.costliest()
    most = max(costs[0].kl, 1e-12)
    rows = [_layer_row(cost, most) for cost in costs[:_LAYERS]]
    title = (
        f"What quantizing one piece alone costs at the logits (simulated; {min(_LAYERS, len(costs))} of {len(costs)}):"
    )
    return [title, *table(rows, header=("piece", "KL", "top-1", "its SQNR", ""), right=(1, 2, 3))]


def _layer_row(cost: LayerCost, most: float) -> tuple[str, ...]:
    bar = "#" * max(round(_BAR * cost.kl / most), 0)
    return cost.name, f"{cost.kl:.2g}", f"{cost.top1:.1%}", _db(cost.sqnr_db), bar


def _verdict(found: Verification) -> str:
    seconds = duration(sum(rung.seconds for rung in found.rungs if rung.rung not in found.reused))
    reused = f", {count(len(found.reused), 'rung')} measured before" if found.reused else ""
    below = found.first_below()
    if below is None and not found.rungs:
        return "nothing was measured"
    if below is None:
        return styled(f"all parts are above what is asked ({seconds}{reused})", "green")
    text = (
        f"first below what is asked: {below.rung}, part {below.part}: {below.worst} has {below.judged_db:.1f} dB,"
        f" {below.needed_db:.0f} are asked ({seconds}{reused})"
    )
    return styled(text, "red")
