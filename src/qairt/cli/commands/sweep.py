"""`qairt sweep`."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli import exit_codes
from qairt.cli.console import emit, emit_json, report, styled, table
from qairt.cli.options import CacheDir, Json, Recipe
from qairt.cli.run_options import RunLimits

if TYPE_CHECKING:
    from qairt.engine.record.sweeps import Combination, Sweep
    from qairt.engine.run.options import RunOptions
    from qairt.llm import LLMPipeline


@dataclass(frozen=True)
class SweepMeasure:
    """What is measured of each combination."""

    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Measure each combination with the metrics of the recipe.")
    ] = False
    chunks: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Read only N chunks of the text for that.", show_default="all"),
    ] = None


def sweep(
    recipe: Recipe,
    values: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE,VALUE",
            help="Values of a setting, separated by commas. Several settings: every combination of them."
            " A setting with one value has it in every combination.",
        ),
    ],
    *,
    measure: SweepMeasure,
    limits: RunLimits,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Run a recipe with every combination of some values.

    A table compares what they came to.

    All combinations share one cache: what they have in common is built once. Every combination is checked and planned
    before the first one runs. One that fails does not stop the others. After Ctrl-C the same command resumes there.
    The table is also in `qairt report`, and on the screen that compares two of the runs.

    \b
    Examples:
      qairt sweep recipe.yaml stages.split_model.num_splits=3,4
      qairt sweep recipe.yaml stages.quantization.recipe=lpbq.yaml,minmax.yaml
      qairt sweep recipe.yaml stages.prepare_exports.arn=[1,128],[1,64] --evaluate

    \b
    Exit codes: 0 all done, 1 a combination failed, 2 the command or a
    combination is wrong, 130 interrupted.
    """
    from qairt.cli.failures import report_note
    from qairt.engine.record.sweeps import Sweep, add_sweep, axes_of, combinations, sweep_table, sweeps

    axes, fixed = axes_of(values)
    chosen = list(combinations(axes))
    options = limits.options()
    pipelines = [_checked(recipe, each, fixed, cache_dir, options) for each in chosen]
    code, done = _run_all(chosen, pipelines, options, measure)
    folder = pipelines[0].state_folder
    found = Sweep(sweep=len(sweeps(folder)) + 1, recipe=recipe, time=time.time(), combinations=tuple(done))
    try:
        add_sweep(folder, found)
    except OSError as error:
        report_note(f"the sweep is not in the cache's record: {error.strerror}")
    if as_json:
        emit_json(found.model_dump(mode="json"))
    else:
        _print(found, recipe, sweep_table(found), left=len(chosen) - len(done))
    raise typer.Exit(code)


def _checked(
    recipe: str, each: dict[str, str], fixed: list[str], cache_dir: Path | None, options: RunOptions
) -> LLMPipeline:
    """The pipeline of one combination.

    Raises:
        QairtError: this combination cannot run; names it.
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.errors import QairtError

    try:
        pipeline = open_pipeline(recipe, [*fixed, *(f"{key}={value}" for key, value in each.items())], cache_dir)
        pipeline.plan(options)
    except QairtError as error:
        report(f"with {_words(each)}:")
        raise error from None
    return pipeline


def _run_all(
    chosen: Sequence[dict[str, str]], pipelines: Sequence[LLMPipeline], options: RunOptions, measure: SweepMeasure
) -> tuple[int, list[Combination]]:
    """Run every combination until one is interrupted, or the cache cannot be used; the exit code, and those that ran.

    Raises:
        CacheError: the cache cannot be used, and nothing ran.
    """
    from qairt.cli.failures import report_failure
    from qairt.errors import CacheError

    code = exit_codes.DONE
    done: list[Combination] = []
    for number, (each, pipeline) in enumerate(zip(chosen, pipelines, strict=True), 1):
        report("")
        report(styled(f"[{number} of {len(chosen)}] {_words(each)}", "bold", stream=sys.stderr))
        try:
            ended, result = _run(pipeline, each, options, measure)
        except CacheError as error:  # it would stop every other combination too
            if not done:
                raise
            report_failure(error)
            return exit_codes.FAILED, done
        done.append(result)
        code = max(code, ended)
        if ended == exit_codes.INTERRUPTED:
            break
    return code, done


def _run(
    pipeline: LLMPipeline, each: dict[str, str], options: RunOptions, measure: SweepMeasure
) -> tuple[int, Combination]:
    """Run one combination, and measure it if that is wanted; the exit code, and what it came to.

    Raises:
        CacheError: the cache cannot be used.
    """
    from qairt.cli.failures import report_failure
    from qairt.engine.record.folder import run_folders
    from qairt.engine.record.summary import read_summary
    from qairt.engine.record.sweeps import Combination
    from qairt.errors import CacheError, QairtError

    before = {folder.id for folder in run_folders(pipeline.state_folder)}
    failure, scores = "", {}
    try:
        code = _build(pipeline, options)
        if code == exit_codes.DONE and measure.evaluate:
            scores = _measured(pipeline, measure.chunks)
    except CacheError:
        raise
    except QairtError as error:
        report_failure(error)
        code, failure = exit_codes.FAILED, error.what
    new = [folder for folder in run_folders(pipeline.state_folder) if folder.id not in before]
    if not new:
        return code, Combination(values=each, failure=failure)
    run = read_summary(new[-1])
    return code, Combination(
        values=each,
        run=run.id,
        state=run.state,
        seconds=round(run.seconds, 2),
        made=run.counts.get("done", 0) + run.counts.get("warn", 0),
        cached=run.counts.get("cached", 0),
        peak_ram=run.peak_ram,
        bytes=run.stages[-1].bytes if run.stages else 0,
        scores=scores,
        failure=failure or run.failure,
    )


def _build(pipeline: LLMPipeline, options: RunOptions) -> int:
    """Run with one line per item on standard error; returns the exit code."""
    from qairt.cli.console import stray_output_to_stderr
    from qairt.cli.interruption import interruptible
    from qairt.cli.text.outcome import exit_code
    from qairt.engine.record.events import Event
    from qairt.engine.record.sentences import format_event

    def tell(event: Event) -> None:
        for line in format_event(event):
            report(line)

    pipeline.add_listener(tell)
    try:
        with interruptible(pipeline.stop, lambda: pipeline.handles_stop), stray_output_to_stderr():
            return exit_code(pipeline.construct(options).last_run)
    except KeyboardInterrupt:
        return exit_codes.INTERRUPTED


def _measured(pipeline: LLMPipeline, chunks: int | None) -> dict[str, float]:
    from qairt.cli.watch.evaluation import watch

    with watch() as progress:
        _, record = pipeline.evaluation(chunks=chunks, progress=progress, notify=report)
    return dict(record.scores)


def _print(found: Sweep, recipe: str, texts: tuple[list[str], list[list[str]]], *, left: int) -> None:
    titles, rows = texts
    axes = len({key for each in found.combinations for key in each.values})
    emit()
    for line in table(rows, header=titles, right=range(axes + 2, len(titles))):
        emit(line)
    for each in found.combinations:
        if each.failure:
            emit(f"{_words(each.values)}: {each.failure}")
    if left:
        emit(f"stopped: {left} not run. The same command resumes there; what is finished is cached.")
    else:
        emit(f"next: {shlex.join(['qairt', 'report', recipe])}")


def _words(each: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in each.items())
