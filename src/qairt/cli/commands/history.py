"""`qairt history` and `qairt history compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from qairt.cli.console import say, say_json
from qairt.cli.find_run import RecipeOption
from qairt.cli.options import CacheDir, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qairt.engine.run.history import RunRecord
    from qairt.evaluate.record import EvaluationRecord


class _RecipeOrCommand(TyperGroup):
    """`qairt history recipe.yaml` means the same as with -r, as other commands have it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_recipe = bool(args) and not args[0].startswith("-") and args[0] not in self.commands
        parsed: list[str] = super().parse_args(ctx, ["--recipe", *args] if is_recipe else args)
        return parsed


app = typer.Typer(
    cls=_RecipeOrCommand,
    help="Show finished runs, and what changed between two.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def history(
    context: typer.Context, recipe: RecipeOption = None, cache_dir: CacheDir = None, as_json: Json = False
) -> None:
    """Show finished runs: what each took, how large the results are, and how good.

    Looks at all cache directories below qairt-cache/, or at that of --recipe or --cache-dir.

    \b
    Examples:
      qairt history
      qairt history recipe.yaml --json
      qairt history compare 1 4 -r recipe.yaml
    """
    if context.invoked_subcommand is not None:
        context.obj = (recipe, cache_dir)
        return
    from qairt.cli.find_run import state_folders
    from qairt.cli.text.history import list_lines

    places = state_folders(recipe, cache_dir)
    runs = [(place, record) for place in places for record in _records(place)]
    runs.sort(key=lambda each: each[1].summary.started or 0.0)
    if as_json:
        say_json({"runs": [_as_data(place, record) for place, record in runs]})
        return
    named = [(f"{place.parent.name}/{record.id}" if len(places) > 1 else record.id, record) for place, record in runs]
    for line in list_lines(named):
        say(line)


@app.command()
def compare(
    context: typer.Context,
    a: Annotated[str, typer.Argument(metavar="A", help="A run, such as 3, or llama/3 where several recipes have one.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    recipe: RecipeOption = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Show what changed between two runs, and what that did.

    First the settings of the recipe that differ, then time, memory, size and perplexity.

    \b
    Example:
      qairt history compare 1 4 -r recipe.yaml
    """
    from qairt.cli.text.history import compare_lines, compared

    before = context.obj or (None, None)
    recipe, cache_dir = recipe or before[0], cache_dir or before[1]
    records = [_find(name, recipe, cache_dir) for name in (a, b)]
    comparison = compared(*records)
    if as_json:
        from dataclasses import asdict

        kinds = ("recipe", "seconds", "cpu_seconds", "peak_ram", "bytes", "metrics")
        rows = {kind: [asdict(row) for row in getattr(comparison, kind)] for kind in kinds}
        rows["recipe"] = [asdict(row) for row in comparison.recipe if row.changed]
        sides = {"a": records[0].summary, "b": records[1].summary}
        say_json({name: side.model_dump(mode="json") for name, side in sides.items()} | rows)
        return
    for line in compare_lines(comparison):
        say(line)


def _find(name: str, recipe: str | None, cache_dir: Path | None) -> RunRecord:
    """The run that is meant by `3`, `0003` or `llama/3`, with what was measured of it.

    Raises:
        QairtError: there is none, or several recipes have one.
    """
    from qairt.cli.find_run import state_folders
    from qairt.engine.run.history import find_run_record
    from qairt.errors import RecipeError

    folder, _, run_id = name.rpartition("/")
    places = [place for place in state_folders(recipe, cache_dir) if folder in ("", place.parent.name)]
    if not places:
        raise RecipeError(f"there is no cache directory {folder}", where=name, remedy="`qairt history` lists the runs")
    if len(places) > 1:
        found = ", ".join(place.parent.name for place in places)
        raise RecipeError(
            f"several recipes were run here: {found}", remedy=f"say which one, such as {places[0].parent.name}/{run_id}"
        )
    from qairt.evaluate.record import records

    return _measured(records(places[0]), find_run_record(places[0], run_id))


def _records(place: Path) -> list[RunRecord]:
    from qairt.engine.run.history import runs_of
    from qairt.evaluate.record import records

    made = records(place)
    return [_measured(made, record) for record in runs_of(place)]


def _measured(made: Sequence[EvaluationRecord], record: RunRecord) -> RunRecord:
    """With the perplexity that was measured of the same recipe, where the run itself does not know one."""
    from qairt import keys
    from qairt.evaluate.record import recipe_of
    from qairt.report.quality import perplexity_of

    if record.recipe is None or "ppl" in record.summary.metrics or record.summary.state != "done":
        return record
    found = perplexity_of(made, keys.digest(recipe_of(record.recipe)))
    if found is None:
        return record
    metrics = record.summary.metrics | {"ppl": found}
    return record.model_copy(update={"summary": record.summary.model_copy(update={"metrics": metrics})})


def _as_data(place: Path, record: RunRecord) -> dict[str, Any]:
    return record.model_dump(mode="json") | {"cache_dir": str(place.parent.absolute())}
