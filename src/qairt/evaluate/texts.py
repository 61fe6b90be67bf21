"""The texts that metrics read: a file, the one that qairt ships, or a data set on the Hugging Face hub."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qairt.errors import EvaluationError

if TYPE_CHECKING:
    from qairt.evaluate.metric import TextMetric
    from qairt.evaluate.subject import Subject
    from qairt.evaluate.text_model import Ids

SHIPPED = "dev.txt"
_WIKITEXT = ("Salesforce/wikitext", "wikitext-2-raw-v1")
_REMEDY = "give a UTF-8 text file: dataset: FILE in the recipe, or --dataset FILE"


@dataclass(frozen=True)
class Text:
    """A text and what it is called."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Hex SHA-256 of its UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def text_of(metric: TextMetric, subject: Subject) -> Text:
    """The text of a metric's `dataset`, read once.

    Raises:
        EvaluationError: there is none, or it cannot be reached; says what to do.
    """
    wanted = (metric.dataset, metric.subset, metric.split, metric.column)
    if wanted not in subject.facts:
        subject.facts[wanted] = _read(metric, subject)
    text: Text = subject.facts[wanted]
    return text


def chunks_of(metric: TextMetric, subject: Subject) -> list[Ids]:
    """The chunks that a metric reads, [context_length] each; see `qairt.evaluate` for the rule.

    Raises:
        EvaluationError: the text has not as many as the metric asks for, or none at all.
    """
    text, length = text_of(metric, subject), subject.context_length
    held = ("tokens", text.digest)
    if held not in subject.facts:
        subject.facts[held] = np.asarray(subject.tokenizer.encode(text.text), np.int64)
    ids: Ids = subject.facts[held]
    there = len(ids) // length
    wanted = metric.chunks or max(there, 1)
    if there < wanted:
        chunks = "a chunk takes" if wanted == 1 else f"{wanted} chunks take"
        raise EvaluationError(
            f"the text has {len(ids):,} tokens, {chunks} {wanted * length:,}",
            where=text.name,
            remedy=f"ask for {there} chunks at most"
            if there
            else "give a longer text, or set evaluator.context_length to fewer tokens",
        )
    starts = np.arange(wanted) * there // wanted * length
    return [ids[start : start + length] for start in starts]


def _read(metric: TextMetric, subject: Subject) -> Text:
    if metric.dataset is None:
        return _from_file(Path(str(package_files("qairt") / "data" / SHIPPED)), SHIPPED)
    path = subject.find(metric.dataset)
    if path.is_file():
        return _from_file(path, metric.dataset)
    if _is_path(metric.dataset):
        raise EvaluationError("there is no such text file", where=metric.dataset, remedy=_REMEDY)
    return _from_hub(metric.dataset, metric)


def _from_file(path: Path, name: str) -> Text:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"it is not UTF-8 text: byte {error.start:,}", where=name, remedy=_REMEDY) from error
    except OSError as error:
        raise EvaluationError(f"it cannot be read: {error.strerror}", where=name, remedy=_REMEDY) from error
    if not text.strip():
        raise EvaluationError("the text is empty", where=name, remedy=_REMEDY)
    return Text(name, text)


def _is_path(name: str) -> bool:
    """Whether it can only be meant as a file: ids on the hub are `name` or `owner/name`."""
    return name.endswith((".txt", ".md", ".json", ".jsonl")) or name.startswith((".", "/", "~")) or name.count("/") > 1


def _from_hub(name: str, metric: TextMetric) -> Text:
    """A data set's texts, with a blank line between them as Hugging Face's own guide has it."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise EvaluationError(
            "there is no such file, and reading a data set of the Hugging Face hub needs the package datasets",
            where=name,
            remedy=f"pip install 'qairt[eval]', or {_REMEDY}",
        ) from None
    place, subset = _WIKITEXT if name == "wikitext" else (name, None)
    try:
        rows: Any = load_dataset(place, metric.subset or subset, split=metric.split)
    except Exception as error:  # the library raises one of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EvaluationError(
            f"there is no such file, and the Hugging Face hub does not give it: {reason}", where=name, remedy=_REMEDY
        ) from error
    if metric.column not in rows.column_names:
        raise EvaluationError(
            f"the data set has no column {metric.column}",
            where=name,
            remedy=f"set column to one of {', '.join(rows.column_names)}",
        )
    text = "\n\n".join(str(row) for row in rows[metric.column])
    if not text.strip():
        raise EvaluationError("the text is empty", where=name, remedy=_REMEDY)
    return Text(f"{name} ({metric.split})", text)
