"""`qairt evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli.console import say, say_json, styled, tell
from qairt.cli.options import CacheDir, Json, Overrides
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from qairt.evaluate.record import EvaluationRecord


class TargetName(StrEnum):
    cpu = "cpu"
    quantsim = "quantsim"
    torch = "torch"
    device = "device"
    ssh = "ssh"


def evaluate(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, or the name of one that qairt ships. Only --list and --compare go without.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
    target: Annotated[
        TargetName,
        typer.Option(
            help="cpu: the split, quantized graphs in ONNX Runtime. quantsim: the same numbers simulated in torch, on"
            " a GPU where there is one; needs no graphs. torch: the float model, to compare with. device: the compiled"
            " graphs on an Android device, by the SDK's qnn-net-run; ssh: on Linux on Arm. Both are slow."
        ),
    ] = TargetName.cpu,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME",
            help="Only this one of the recipe's metrics, or any other: perplexity, kl_divergence, top1_agreement,"
            " generation, mmlu, … May be given several times.",
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The text to read: a UTF-8 file, wikitext, or a data set on the Hugging Face hub.",
            show_default="the metric's, or a text that qairt ships",
        ),
    ] = None,
    chunks: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Read only N chunks, evenly spread over the text.", show_default="all"),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Which device, as for qairt execute.", show_default="ANDROID_SERIAL, or the only one"
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Show the evaluations made so far, and measure nothing.")
    ] = False,
    compare: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="RUN RUN",
            help="Show in what two evaluations differ, by their numbers in --list, and measure nothing.",
            show_default=False,
        ),
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Measure how good the model is after quantization, or before it.

    The metrics are the recipe's (evaluator: metrics:), or perplexity where it lists none. Scores go to standard output,
    and are kept with the digests of model, recipe and text. After Ctrl-C or a kill the same command goes on.

    Perplexity: the text is cut into chunks of context_length tokens that do not overlap; each starts with an empty
    context and without a beginning-of-text token; its first token is not predicted, the others are.

    \b
    Examples:
      qairt evaluate recipe.yaml
      qairt evaluate recipe.yaml --target torch
      qairt evaluate recipe.yaml -m perplexity -m kl_divergence --dataset my.txt
      qairt evaluate recipe.yaml --compare 1 2
    """
    if compare is not None or listed:
        _look_back(recipe, compare, cache_dir, as_json=as_json)
        return
    if recipe is None:
        raise RecipeError("which recipe?", where="qairt evaluate", remedy="qairt evaluate RECIPE")
    if device is not None and target not in (TargetName.device, TargetName.ssh):
        raise RecipeError(
            f"--target {target.value} runs on this machine: --device is for others",
            where="--device",
            remedy="leave it out, or give --target device or --target ssh",
        )
    from qairt.cli.recipe_argument import open_pipeline
    from qairt.cli.watch.evaluation import watch

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    with watch() as progress:
        number, record = pipeline.evaluation(
            target.value,
            metrics=metric or (),
            dataset=dataset,
            chunks=chunks,
            device=device,
            progress=progress,
            notify=tell,
        )
    if as_json:
        say_json(_as_data(number, record))
        return
    from qairt.cli.text.evaluations import score_lines, took_line

    for line in score_lines(record):
        say(line)
    import sys

    tell(styled(took_line(number, record), "dim", stream=sys.stderr))


def _look_back(recipe: str | None, numbers: tuple[int, int] | None, cache_dir: Path | None, *, as_json: bool) -> None:
    """What was measured earlier: all of it, or two side by side."""
    from qairt.cli.text.evaluations import compare_lines, list_lines
    from qairt.evaluate.record import differences, find_record, records

    place = _state_folder(recipe, cache_dir)
    if numbers is None:
        made = records(place)
        if as_json:
            say_json({"evaluations": [_as_data(number, record) for number, record in enumerate(made, start=1)]})
            return
        for line in list_lines(made):
            say(line)
        return
    one, other = (find_record(place, number) for number in numbers)
    if as_json:
        differing = [{"name": found.name, "a": found.a, "b": found.b} for found in differences(one, other)]
        sides = {"a": _as_data(numbers[0], one), "b": _as_data(numbers[1], other)}
        say_json(sides | {"differences": differing})
        return
    for line in compare_lines(numbers, one, other):
        say(line)


def _state_folder(recipe: str | None, cache_dir: Path | None) -> Path:
    from qairt.cli.find_run import state_folders

    places = state_folders(recipe, cache_dir)
    if len(places) > 1:
        found = ", ".join(place.parent.name for place in places)
        raise RecipeError(f"several recipes were run here: {found}", remedy="say which one by RECIPE or --cache-dir")
    return places[0]


def _as_data(number: int, record: EvaluationRecord) -> dict[str, object]:
    plain = record.plain()
    scores = {title: metric["score"] for title, metric in plain["metrics"].items()}
    return {"number": number, "scores": scores} | plain
