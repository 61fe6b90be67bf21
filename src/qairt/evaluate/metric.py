"""What a metric is, and the registry that finds it by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from qairt.evaluate.subject import Subject
    from qairt.evaluate.token_scores import TokenScores

Sums = Mapping[str, float]
"""Numbers that add up over the tokens of a text."""


class Metric(BaseModel, ABC):
    """One measure of a model. Its fields are the arguments that a recipe gives it.

    A metric of one's own is a subclass of this or of `TextMetric`, registered with `register_metric`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised when it gives another score for the same model and text: what was measured before is then not reused."""
    higher_is_better: ClassVar[bool] = True
    names_pieces: ClassVar[frozenset[str]] = frozenset()
    """Arguments that say what is measured, but not how: another value does not measure a chunk anew."""

    display_name: str | None = None
    """How its score is called; its name when left out."""

    @property
    def title(self) -> str:
        """How its score is called."""
        return self.display_name or self.name

    def check(self, subject: Subject) -> None:
        """What can be known before work starts.

        Raises:
            QairtError: it cannot be measured.
        """

    @abstractmethod
    def measure(self, subject: Subject) -> float:
        """The score of what `subject` opens; says how far it is by `subject.progress`."""


class TextMetric(Metric):
    """A measure of how a text's tokens are predicted. All those of one text are taken in one pass over it."""

    names_pieces = frozenset({"dataset", "subset", "split", "column", "chunks"})
    needs_reference: ClassVar[bool] = False
    """It compares with the float model, which then reads the text too."""

    dataset: str | None = None
    """A UTF-8 text file, `wikitext`, or a data set on the Hugging Face hub; the text that qairt ships when left out."""
    subset: str | None = None
    """Of a data set on the hub that has several."""
    split: str = "test"
    """Of a data set on the hub."""
    column: str = "text"
    """Of a data set on the hub: the one that holds text."""
    chunks: Annotated[int | None, Field(gt=0)] = None
    """Chunks to measure, evenly spread over the text; all of them when left out."""

    @abstractmethod
    def sums(self, scores: TokenScores) -> Sums:
        """What some tokens add to the score. Called on several threads."""

    @abstractmethod
    def score(self, sums: Sums) -> float:
        """The score of the sums over all tokens; `tokens` is always among them."""

    def check(self, subject: Subject) -> None:
        from qairt.evaluate.texts import chunks_of

        chunks_of(self, subject)

    def measure(self, subject: Subject) -> float:
        from qairt.evaluate.text_run import measure_text

        return measure_text([self], subject)[0]


_registry: dict[str, type[Metric]] = {}

MetricT = TypeVar("MetricT", bound=type[Metric])


def register_metric(metric: MetricT) -> MetricT:
    """Make a metric known by its `name`; one of the same name is replaced."""
    _registry[metric.name] = metric
    return metric


def arguments_of(metric: type[Metric]) -> list[str]:
    """The names of its arguments."""
    return list(metric.model_fields)


def plain_arguments(metric: Metric) -> dict[str, Any]:
    """What it was asked, for records and for keys: arguments that are not their defaults."""
    return metric.model_dump(mode="json", exclude_defaults=True, exclude={"display_name"})
