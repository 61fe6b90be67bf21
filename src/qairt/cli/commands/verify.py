"""`qairt verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import exit_codes
from qairt.cli.console import others_to_stderr, say, say_json, tell
from qairt.cli.options import CacheDir, Json, Overrides, Recipe

if TYPE_CHECKING:
    from qairt.verify.result import Verification


def verify(
    recipe: Recipe,
    overrides: Overrides = None,
    rung: Annotated[
        str | None, typer.Option(metavar="NAME", help="This rung alone, such as split_model or genie.")
    ] = None,
    part: Annotated[int | None, typer.Option(metavar="N", help="This part alone, counted from 1.")] = None,
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Tokens of text that the chained parts read. Left out: up to 256, on the emulator one call of the"
            " largest AR and one token, in Genie 8.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For --rung device: SERIAL[@HOST[:PORT]] of adb, or ssh:USER@HOST.",
            show_default="ANDROID_SERIAL, or the only one",
        ),
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Say, stage by stage, how far the result is from the float model.

    Every finished stage's graphs run on the same text. SQNR is in dB: how much larger the float model's values are
    than the error, over all tokens but the first; the worst output of each part counts. `isolated` runs a part on the
    float model's own inputs, `chained` on what the part before gave. Of quantized parts `isolated` is what must reach
    the threshold; chained, their errors add up. For quantization also: the layers that cost most.

    The last rung, genie, runs all parts in the vendor's own runtime on this machine and compares its tokens with the
    CPU's. Where it takes more than five minutes it is left out, unless --rung genie asks for it.

    --rung device runs the compiled parts on a phone or board, with the SDK's qnn-net-run; slow, and never unasked.

    Exit code 1 when a part falls below what the recipe asks (verify.min_sqnr_db), or when Genie's tokens differ and it
    was no tie (verify.max_tie). What was measured is kept, and said again at once the next time.

    \b
    Examples:
      qairt verify recipe.yaml
      qairt verify recipe.yaml --rung quantize --part 2
      qairt verify recipe.yaml --rung genie
      qairt verify recipe.yaml --rung device --device 4f2a91c7
      qairt verify recipe.yaml verify.min_sqnr_db.quantize=20
    """
    from qairt.cli.recipe_argument import open_pipeline
    from qairt.cli.text.verification import told

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    with others_to_stderr():
        found = pipeline.verify(
            rung.replace("-", "_") if rung is not None else None, part=part, tokens=tokens, device=device, notify=tell
        )
        if as_json:
            say_json(as_data(found))
        else:
            for line in told(found):
                say(line)
    raise typer.Exit(exit_codes.DONE if found.passes else exit_codes.FAILED)


def as_data(found: Verification) -> dict[str, object]:
    """Everything that was measured, and the judgement."""
    below = found.first_below()
    return found.model_dump(mode="json") | {
        "parts": [part.model_dump(mode="json") | {"passes": part.passes} for part in found.parts()],
        "first_below": below.model_dump(mode="json") if below else None,
        "tokens": [
            runtime.model_dump(mode="json")
            | {"first_difference": runtime.first_difference, "passes": runtime.passes(found.max_tie)}
            for runtime in found.tokens
        ],
    }
