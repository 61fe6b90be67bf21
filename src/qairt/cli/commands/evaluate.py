"""`qairt evaluate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import completion
from qairt.cli.console import emit, emit_json, report, styled
from qairt.cli.options import CacheDir, EvaluateTarget, Json, Overrides, Strengths, parsed_strengths
from qairt.errors import RecipeError
from qairt.recipe.configs import BASE

if TYPE_CHECKING:
    from qairt.evaluate.record import EvaluationRecord


@dataclass(frozen=True)
class EvaluationScope:
    """What is measured, and on what."""

    target: Annotated[
        EvaluateTarget,
        typer.Option(
            help="cpu: the split, quantized graphs in ONNX Runtime. quantsim: the same numbers simulated in torch, on"
            " a GPU if there is one; needs no graphs. torch: the float model. device: the compiled graphs on an"
            " Android device, by the SDK's qnn-net-run; ssh: on Linux on Arm. Both are slow."
        ),
    ] = "cpu"
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            metavar="NAME",
            help="Only this metric of the recipe, or another one: perplexity, kl_divergence, top1_agreement,"
            " generation, mmlu, … Can be repeated.",
            show_default=False,
        ),
    ] = None
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The text: a UTF-8 file, wikitext, or a data set on the Hugging Face hub.",
            show_default="the metric's, or a text that comes with qairt",
        ),
    ] = None
    chunks: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Read only N chunks, evenly spaced in the text.", show_default="all"),
    ] = None
    concurrency: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The LoRA adapters to measure: a concurrency of the recipe, on its own calibration text unless one is"
            " named; the float model has them too.",
        ),
    ] = BASE
    strength: Strengths = None
    device: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The device, as in qairt execute.", show_default="ANDROID_SERIAL, or the only one"
        ),
    ] = None


@dataclass(frozen=True)
class PastEvaluations:
    """Earlier evaluations to show; nothing is measured then."""

    listed: Annotated[bool, typer.Option("--list", help="List earlier evaluations; measures nothing.")] = False
    compare: Annotated[
        tuple[int, int] | None,
        typer.Option(
            metavar="A B",
            help="Compare two earlier evaluations by their numbers in --list; measures nothing.",
            show_default=False,
        ),
    ] = None


def evaluate(
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="A recipe file, or the name of a recipe that comes with qairt. Optional with --list and --compare.",
            show_default=False,
            autocompletion=completion.recipes,
        ),
    ] = None,
    overrides: Overrides = None,
    *,
    scope: EvaluationScope,
    past: PastEvaluations,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Measure how good the model is, quantized or in float.

    The metrics are those of the recipe (evaluator: metrics:), or perplexity if it has none. Scores go to standard
    output, and are kept with the digests of model, recipe and text. After Ctrl-C or a kill the same command resumes.

    Perplexity: the text is cut into chunks of context_length tokens that do not overlap; each starts with an empty
    context and without a beginning-of-text token. Its first token is not predicted, the others are.

    \b
    Examples:
      qairt evaluate recipe.yaml
      qairt evaluate recipe.yaml --target torch
      qairt evaluate recipe.yaml -m perplexity -m kl_divergence --dataset my.txt
      qairt evaluate recipe.yaml --compare 1 2
    """
    if past.compare is not None or past.listed:
        _print_past(recipe, past.compare, cache_dir, as_json=as_json)
        return
    if recipe is None:
        raise RecipeError("no recipe is given", where="qairt evaluate", remedy="qairt evaluate RECIPE")
    if scope.device is not None and scope.target not in ("device", "ssh"):
        raise RecipeError(
            f"--target {scope.target} runs on this machine: it takes no --device",
            where="--device",
            remedy="omit it, or give --target device or --target ssh",
        )
    number, record = _measure(recipe, overrides, scope, cache_dir)
    if as_json:
        emit_json(_as_data(number, record))
        return
    from qairt.cli.text.evaluations import score_lines, took_line

    for line in score_lines(record):
        emit(line)
    report(styled(took_line(number, record), "dim", stream=sys.stderr))


def _measure(
    recipe: str, overrides: list[str] | None, scope: EvaluationScope, cache_dir: Path | None
) -> tuple[int, EvaluationRecord]:
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.watch.evaluation import watch

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    with watch() as progress:
        return pipeline.evaluation(
            scope.target,
            metrics=scope.metric or (),
            dataset=scope.dataset,
            chunks=scope.chunks,
            device=scope.device,
            concurrency=scope.concurrency,
            strengths=parsed_strengths(scope.strength),
            progress=progress,
            notify=report,
        )


def _print_past(recipe: str | None, numbers: tuple[int, int] | None, cache_dir: Path | None, *, as_json: bool) -> None:
    """All earlier evaluations, or two side by side."""
    from qairt.cli.find_cache_dir import only_cache_dir
    from qairt.cli.text.evaluations import compare_lines, list_lines
    from qairt.engine.cache.manifest import STATE_FOLDER
    from qairt.evaluate.record import differences, find_record, records

    folder = only_cache_dir(recipe, cache_dir) / STATE_FOLDER
    if numbers is None:
        found = records(folder)
        if as_json:
            emit_json({"evaluations": [_as_data(number, record) for number, record in enumerate(found, start=1)]})
            return
        for line in list_lines(found):
            emit(line)
        return
    one, other = (find_record(folder, number) for number in numbers)
    if as_json:
        differing = [{"name": each.name, "a": each.a, "b": each.b} for each in differences(one, other)]
        sides = {"a": _as_data(numbers[0], one), "b": _as_data(numbers[1], other)}
        emit_json(sides | {"differences": differing})
        return
    for line in compare_lines(numbers, one, other):
        emit(line)


def _as_data(number: int, record: EvaluationRecord) -> Mapping[str, object]:
    plain = record.plain()
    scores = {title: metric["score"] for title, metric in plain["metrics"].items()}
    return {"number": number, "scores": scores} | plain
