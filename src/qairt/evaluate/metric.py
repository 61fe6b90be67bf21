"""What a metric is, and the registry that finds it by name.

A metric is data: its name, its arguments and, for text, how sums become a score. `qairt.evaluate.run` knows what
measures each kind; a metric of any other kind has its own `measure`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Protocol, TypeVar, runtime_checkable

from pydantic import ConfigDict, Field, JsonValue

from qairt.recipe.files import RecipeFile
from qairt.settings_model import SettingsModel

if TYPE_CHECKING:
    from qairt.evaluate.subject import Subject
    from qairt.evaluate.token_scores import TokenScores

Sums = Mapping[str, float]
"""Numbers that add up over the tokens of a text."""


class Metric(SettingsModel, ABC):
    """One measure of a model. Its fields are the arguments that a recipe gives it.

    Your own metric is a subclass of `TextMetric`, or of this class with a method `measure(self, subject) -> float`;
    register it with `register_metric`.
    """

    model_config = ConfigDict(frozen=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when the score changes for the same model and text; stored results are then not reused."""
    higher_is_better: ClassVar[bool] = True
    data_arguments: ClassVar[frozenset[str]] = frozenset()
    """Arguments that select the data, not how it is scored; changing one keeps the stored results."""

    display_name: str | None = None
    """The name shown for its score; the metric's own name when left out."""

    @property
    def title(self) -> str:
        """The name shown for its score."""
        return self.display_name or self.name

    def check(self, subject: Subject) -> None:
        """Check what can be known before work starts.

        Raises:
            QairtError: the metric cannot be measured.
        """


@runtime_checkable
class MeasuresItself(Protocol):
    """A metric with its own `measure`."""

    def measure(self, subject: Subject) -> float:
        """Return the score of the model in `subject`; report progress by `subject.progress`."""


class TextMetric(Metric):
    """A measure of how well a text's tokens are predicted. All metrics of one text are measured in one pass over it."""

    data_arguments = frozenset({"dataset", "subset", "split", "column", "chunks"})
    needs_reference: ClassVar[bool] = False
    """It compares with the float model, which then reads the text too."""

    dataset: Annotated[str | None, RecipeFile(or_hub_id=True)] = None
    """A UTF-8 text file, `wikitext`, or a data set on the Hugging Face hub; the text that qairt ships when left out."""
    subset: str | None = None
    """Of a data set on the hub that has several."""
    split: str = "test"
    """Of a data set on the hub."""
    column: str = "text"
    """The column of a data set on the hub that holds the text."""
    chunks: Annotated[int | None, Field(gt=0)] = None
    """Chunks to measure, evenly spread over the text; all of them when left out."""

    @abstractmethod
    def sums(self, scores: TokenScores) -> Sums:
        """What some tokens add to the score. Called on several threads."""

    @abstractmethod
    def score(self, sums: Sums) -> float:
        """The score from the sums over all tokens; `tokens`, their number, is always included."""


_registry: dict[str, type[Metric]] = {}

MetricT = TypeVar("MetricT", bound=type[Metric])


def register_metric(metric: MetricT) -> MetricT:
    """Class decorator: make a metric usable by its `name`. It replaces a metric of the same name."""
    _registry[metric.name] = metric
    return metric


def arguments_of(metric: type[Metric]) -> list[str]:
    """The names of a metric's arguments."""
    return list(metric.model_fields)


def plain_arguments(metric: Metric) -> dict[str, JsonValue]:
    """The arguments that differ from their defaults, for records and keys."""
    return metric.model_dump(mode="json", exclude_defaults=True, exclude={"display_name"})
