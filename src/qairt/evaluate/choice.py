"""Which metrics are measured: those of the recipe, some of them, or others by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue, ValidationError

from qairt.errors import RecipeError
from qairt.evaluate.metric import Metric, TextMetric, arguments_of
from qairt.evaluate.registry import registered_metrics
from qairt.printable import as_written
from qairt.recipe.faults import faults_from_pydantic
from qairt.recipe.file_settings import argument_path
from qairt.recipe.names import nearest

if TYPE_CHECKING:
    from qairt.recipe.recipe import Recipe

DEFAULT: Mapping[str, JsonValue] = {"name": "perplexity"}
_PATH = ("evaluator", "metrics")


def recipe_metrics(recipe: Recipe, entries: Sequence[Mapping[str, JsonValue]]) -> list[Metric]:
    """The metrics that a recipe lists.

    Raises:
        RecipeError: one is unknown or has wrong arguments, or two share a display name; lists every fault with its
            line and what is allowed.
    """
    faults: list[RecipeError] = []
    metrics: list[Metric] = []
    for index, entry in enumerate(entries):
        try:
            metric = _metric(entry, recipe, (*_PATH, index))
        except RecipeError as error:
            faults += error.faults or [error]
            continue
        if metric.title in [other.title for other in metrics]:
            faults.append(
                RecipeError(
                    f"two metrics are named {metric.title}",
                    where=recipe.where((*_PATH, index)),
                    remedy="give one of them a display_name",
                )
            )
        metrics.append(metric)
    if faults:
        raise faults[0] if len(faults) == 1 else RecipeError(f"{len(faults)} faults", faults=faults)
    return metrics


def chosen_metrics(
    recipe: Recipe,
    entries: Sequence[Mapping[str, JsonValue]],
    names: Sequence[str] = (),
    *,
    dataset: str | None = None,
    chunks: int | None = None,
) -> list[Metric]:
    """The metrics to measure.

    Args:
        entries: the recipe's; perplexity when it has none.
        names: only these, by display name or name; a metric that the recipe does not list gets its defaults.
        dataset: overrides the text of all text metrics; a path is relative to the working directory first.
        chunks: overrides their number of chunks.

    Raises:
        RecipeError: as `recipe_metrics`; or a name is unknown, or a text does not exist.
    """
    if dataset is not None:
        dataset = argument_path(recipe, dataset, TextMetric, "dataset")
    listed = recipe_metrics(recipe, entries or [DEFAULT])
    if names:
        listed = [metric for name in dict.fromkeys(names) for metric in _named(name, listed, recipe)]
    overrides = {name: value for name, value in (("dataset", dataset), ("chunks", chunks)) if value is not None}
    if overrides and not any(isinstance(metric, TextMetric) for metric in listed):
        raise RecipeError(
            f"none of the metrics reads text: {', '.join(metric.title for metric in listed)}",
            where=" and ".join(f"--{name}" for name in overrides),
            remedy="leave it out, or name a metric that does: --metric perplexity",
        )
    metrics = [metric.model_copy(update=overrides) if isinstance(metric, TextMetric) else metric for metric in listed]
    _require_texts(recipe, metrics)
    return metrics


def _require_texts(recipe: Recipe, metrics: Sequence[Metric]) -> None:
    datasets = [metric.dataset for metric in metrics if isinstance(metric, TextMetric)]
    for setting, error in recipe.missing_files.items():
        if setting.startswith("evaluator.metrics.") and recipe.at(setting) in datasets:
            raise recipe.located(error)


def _named(name: str, listed: Sequence[Metric], recipe: Recipe) -> list[Metric]:
    found = [metric for metric in listed if metric.title == name] or [
        metric for metric in listed if metric.name == name
    ]
    return found or [_metric({"name": name}, recipe, ("evaluator", "metrics", name))]


def _metric(entry: Mapping[str, JsonValue], recipe: Recipe, path: Sequence[str | int]) -> Metric:
    known = registered_metrics()
    where = recipe.where(path)
    name = entry.get("name")
    if name is None:
        raise RecipeError(
            "this metric has no name", where=where, remedy=f"set `name:` to one of {', '.join(sorted(known))}"
        )
    if not isinstance(name, str) or name not in known:
        shown = name if isinstance(name, str) else as_written(name)
        close = nearest(shown, known)
        remedy = f"the metrics are {', '.join(sorted(known))}"
        raise RecipeError(
            f"there is no metric {shown}", where=where, remedy=f"did you mean {close}? {remedy}" if close else remedy
        )
    metric = known[name]
    try:
        return metric.model_validate({key: value for key, value in entry.items() if key != "name"})
    except ValidationError as error:
        faults = [_fault(fault, metric, str(path[-1])) for fault in faults_from_pydantic(error, recipe, path, metric)]
        raise faults[0] if len(faults) == 1 else RecipeError(f"{len(faults)} faults", faults=faults) from error


def _fault(fault: RecipeError, metric: type[Metric], index: str) -> RecipeError:
    """A fault of the metric at `index` in the list, with the arguments that the metric takes."""
    what = fault.what.replace(f"is not a setting of {index}", f"is not an argument of {metric.name}")
    takes = f"{metric.name} takes {', '.join(arguments_of(metric))}"
    advice = fault.remedy or ""
    if advice.startswith("its settings"):  # `takes` lists them
        remedy = takes
    else:
        remedy = f"{advice} {takes}" if advice.endswith("?") else f"{advice}; {takes}"
    return RecipeError(what, where=fault.where, remedy=remedy)
