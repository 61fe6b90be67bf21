"""`qairt history` and `qairt history compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from qairt.cli import completion
from qairt.cli.console import emit, emit_json
from qairt.cli.find_recipe import is_recipe
from qairt.cli.options import CacheDir, HiddenRecipe, Json
from qairt.cli.signature import add_command
from qairt.errors import RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qairt.engine.run.history import RunRecord
    from qairt.evaluate.record import EvaluationRecord


class _RecipeOrCommand(TyperGroup):
    """`qairt history recipe.yaml`: a first word that is no command is RECIPE, which a group cannot declare."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        has_recipe = bool(args) and not args[0].startswith("-") and args[0] not in self.commands
        return super().parse_args(ctx, ["--recipe", *args] if has_recipe else args)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        from typer._click.shell_completion import CompletionItem

        recipes = [] if incomplete.startswith("-") else completion.recipes(incomplete)
        return [*super().shell_complete(ctx, incomplete), *map(CompletionItem, recipes)]


app = typer.Typer(
    cls=_RecipeOrCommand,
    rich_markup_mode=None,
    add_completion=False,
    subcommand_metavar="[RECIPE] | compare [RECIPE] A B",
)


@app.callback(invoke_without_command=True)
def history(
    context: typer.Context, recipe: HiddenRecipe = None, cache_dir: CacheDir = None, as_json: Json = False
) -> None:
    """List finished runs, and compare two of them.

    Lists the time each took, the size of its results, and their perplexity. Without RECIPE and --cache-dir: the runs
    of all caches in qairt-cache/.

    \b
    Examples:
      qairt history
      qairt history recipe.yaml --json
      qairt history compare recipe.yaml 1 4
    """
    if context.invoked_subcommand is not None:
        context.obj = (recipe, cache_dir)
        return
    from qairt.cli.find_run import state_folders
    from qairt.cli.text.history import list_lines

    folders = state_folders(recipe, cache_dir)
    runs = [(folder, record) for folder in folders for record in _records(folder)]
    runs.sort(key=lambda each: each[1].summary.started or 0.0, reverse=True)
    if as_json:
        emit_json({"runs": [_as_data(folder, record) for folder, record in runs]})
        return
    several = len(folders) > 1
    named = [(f"{folder.parent.name}/{record.id}" if several else record.id, record) for folder, record in runs]
    for line in list_lines(named):
        emit(line)


@add_command(app, "compare")
def compare(
    context: typer.Context,
    recipe: Annotated[
        str | None,
        typer.Argument(
            metavar="RECIPE",
            help="The recipe whose runs these are; optional.",
            show_default=False,
            autocompletion=completion.recipes_or_runs,
        ),
    ] = None,
    a: Annotated[
        str | None,
        typer.Argument(
            metavar="A",
            help="A run, such as 3, or llama/3 where several recipes have one.",
            show_default=False,
            autocompletion=completion.runs,
        ),
    ] = None,
    b: Annotated[
        str | None,
        typer.Argument(metavar="B", help="The other run.", show_default=False, autocompletion=completion.runs),
    ] = None,
    recipe_option: HiddenRecipe = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Compare two finished runs.

    First the settings of the recipe that differ, then time, memory, size and perplexity.

    \b
    Examples:
      qairt history compare 1 4
      qairt history compare recipe.yaml 1 4
    """
    from qairt.cli.text.history import compare_lines, compared

    group_recipe, group_cache_dir = context.obj or (None, None)
    recipe, *runs = _recipe_and_runs([word for word in (recipe, a, b) if word is not None])
    recipe, cache_dir = recipe or recipe_option or group_recipe, cache_dir or group_cache_dir
    one, other = (_find(name, recipe, cache_dir) for name in runs)
    comparison = compared(one, other)
    if as_json:
        from dataclasses import asdict

        kinds = ("recipe", "seconds", "cpu_seconds", "peak_ram", "bytes", "metrics")
        rows: dict[str, object] = {kind: [asdict(row) for row in getattr(comparison, kind)] for kind in kinds}
        rows["recipe"] = [asdict(row) for row in comparison.recipe if row.changed]
        emit_json({"a": one.summary.model_dump(mode="json"), "b": other.summary.model_dump(mode="json")} | rows)
        return
    for line in compare_lines(comparison):
        emit(line)


def _recipe_and_runs(arguments: list[str]) -> tuple[str | None, str, str]:
    """`[RECIPE] A B` of the arguments.

    Raises:
        RecipeError: there are not two runs.
    """
    recipe = arguments.pop(0) if arguments and is_recipe(arguments[0]) else None
    if len(arguments) != 2:
        given = ", ".join(arguments) or "none"
        raise RecipeError(f"two runs are needed, given: {given}", remedy="qairt history compare [RECIPE] A B")
    return recipe, arguments[0], arguments[1]


def _find(name: str, recipe: str | None, cache_dir: Path | None) -> RunRecord:
    """The run `3`, `0003` or `llama/3`, with the perplexity measured later.

    Raises:
        QairtError: there is none, or several recipes have one.
    """
    from qairt.cli.find_run import state_folders
    from qairt.engine.run.history import find_run_record
    from qairt.evaluate.record import records

    cache, _, run_id = name.rpartition("/")
    folders = [folder for folder in state_folders(recipe, cache_dir) if cache in ("", folder.parent.name)]
    if not folders:
        raise RecipeError(f"there is no cache directory {cache}", where=name, remedy="`qairt history` lists the runs")
    if len(folders) > 1:
        found = ", ".join(folder.parent.name for folder in folders)
        raise RecipeError(
            f"there are several cache directories: {found}",
            remedy=f"give RECIPE, or a name such as {folders[0].parent.name}/{run_id}",
        )
    return _with_perplexity(records(folders[0]), find_run_record(folders[0], run_id))


def _records(state_folder: Path) -> list[RunRecord]:
    from qairt.engine.run.history import runs_of
    from qairt.evaluate.record import records

    evaluations = records(state_folder)
    return [_with_perplexity(evaluations, record) for record in runs_of(state_folder)]


def _with_perplexity(evaluations: Sequence[EvaluationRecord], record: RunRecord) -> RunRecord:
    """The record with the perplexity measured for the same recipe, unless the run has one of its own."""
    from qairt import keys
    from qairt.evaluate.record import recipe_of
    from qairt.report.quality import perplexity_of

    if record.recipe is None or "ppl" in record.summary.metrics or record.summary.state != "done":
        return record
    found = perplexity_of(evaluations, keys.digest(recipe_of(record.recipe)))
    if found is None:
        return record
    metrics = record.summary.metrics | {"ppl": found}
    return record.model_copy(update={"summary": record.summary.model_copy(update={"metrics": metrics})})


def _as_data(state_folder: Path, record: RunRecord) -> dict[str, object]:
    return record.model_dump(mode="json") | {"cache_dir": str(state_folder.parent.absolute())}
