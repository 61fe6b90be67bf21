"""`qairt verify`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import exit_codes
from qairt.cli.console import emit, emit_json, report, stray_output_to_stderr
from qairt.cli.options import CacheDir, Json, Overrides, Recipe, Strengths, parsed_strengths

if TYPE_CHECKING:
    from qairt.verify.result import Verification


@dataclass(frozen=True)
class VerifyScope:
    """What is compared."""

    rung: Annotated[str | None, typer.Option(metavar="NAME", help="Only this rung, such as split_model or genie.")] = (
        None
    )
    part: Annotated[int | None, typer.Option(metavar="N", help="Only this part, counted from 1.")] = None
    tokens: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Tokens of text that the chained parts read.",
            show_default="up to 256; on the emulator one call of the largest AR and one token; in Genie 8",
        ),
    ] = None
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="For --rung device: SERIAL[@HOST[:PORT]] of adb, or ssh:USER@HOST.",
            show_default="ANDROID_SERIAL, or the only one",
        ),
    ] = None
    concurrency: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only these LoRA adapters: a concurrency of the recipe, or base.",
            show_default="the base and every concurrency",
        ),
    ] = None
    strength: Strengths = None


def verify(
    recipe: Recipe,
    overrides: Overrides = None,
    *,
    scope: VerifyScope,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Compare each stage's graphs with the float model.

    The graphs of every finished stage (a rung) run on the same text. SQNR, in dB, is the power of the float model's
    values over that of the error, over all tokens but the first; the worst output of each part counts. `isolated` runs
    a part on the float model's own inputs, `chained` on the outputs of the part before it. Quantized parts are judged
    by `isolated`, since errors add up along the chain; the whole chain by top-1 agreement and KL divergence, with
    bounds for the bits of its weights. For quantization, the modules with the largest loss are listed.

    The last rung, genie, runs all parts in the vendor's runtime on this machine and compares its tokens with those of
    the CPU; of an embedding model, the vectors of two texts. It is skipped if it would take more than five minutes,
    unless --rung genie is given.

    --rung device runs the compiled parts on a phone or board with the SDK's qnn-net-run. It is slow, and never runs
    unless requested.

    Exit code 1 if a part is below the recipe's threshold (verify.min_sqnr_db), if the whole is out of bounds
    (verify.min_top1, verify.max_kl; "warn"), if Genie's tokens differ by more than a tie (verify.max_tie), or if its
    vectors are too far from the CPU's (verify.min_cpu_db).

    Measurements are kept and reused.

    \b
    Examples:
      qairt verify recipe.yaml
      qairt verify recipe.yaml --rung quantize --part 2
      qairt verify recipe.yaml --rung genie
      qairt verify recipe.yaml --concurrency french
      qairt verify recipe.yaml --rung device --device 4f2a91c7
      qairt verify recipe.yaml verify.min_sqnr_db.quantize=20
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.text.verification import verification_lines

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    rung = scope.rung.replace("-", "_") if scope.rung is not None else None
    with stray_output_to_stderr():
        found = pipeline.verify(
            rung,
            part=scope.part,
            tokens=scope.tokens,
            device=scope.device,
            concurrency=scope.concurrency,
            strengths=parsed_strengths(scope.strength),
            notify=report,
        )
        if as_json:
            emit_json(as_data(found))
        else:
            for line in verification_lines(found):
                emit(line)
    raise typer.Exit(exit_codes.DONE if found.passes else exit_codes.FAILED)


def as_data(found: Verification) -> dict[str, object]:
    """All measurements and the verdict."""
    below = found.first_below()
    return found.model_dump(mode="json") | {
        "parts": [part.model_dump(mode="json") | {"passes": part.passes} for part in found.parts()],
        "first_below": below.model_dump(mode="json") if below else None,
        "models": [model.model_dump(mode="json") | {"passes": model.passes} for model in found.models()],
        "tokens": [
            runtime.model_dump(mode="json")
            | {"first_difference": runtime.first_difference, "passes": runtime.passes(found.max_tie)}
            for runtime in found.tokens
        ],
        "vectors": [
            runtime.model_dump(mode="json") | {"passes": runtime.passes(found.min_cpu_db)} for runtime in found.vectors
        ],
    }
