"""Reading the texts of metrics: a file, the text that qairt ships, or a data set on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.resources import files as package_files
from pathlib import Path
from typing import Protocol

import numpy as np

from qairt.amounts import count as counted
from qairt.errors import EvaluationError
from qairt.evaluate.metric import TextMetric
from qairt.evaluate.subject import Subject
from qairt.evaluate.text_model import EvaluationText, Ids, TextKey
from qairt.files import read_text
from qairt.quant.measure.chunks import spread_chunks
from qairt.recipe.files import is_path

SHIPPED = "dev.txt"
_WIKITEXT = ("Salesforce/wikitext", "wikitext-2-raw-v1")
_REMEDY = "give a UTF-8 text file: dataset: FILE in the recipe, or --dataset FILE"


class _Rows(Protocol):
    """A data set of the package `datasets`."""

    @property
    def column_names(self) -> list[str]: ...

    def __getitem__(self, column: str) -> Iterable[object]: ...


def key_of(metric: TextMetric) -> TextKey:
    """What names the text of a metric."""
    return metric.dataset, metric.subset, metric.split, metric.column


def text_of(metric: TextMetric, subject: Subject) -> EvaluationText:
    """The text of a metric's `dataset`, read once.

    Raises:
        EvaluationError: it does not exist or cannot be read; says what to do.
    """
    key = key_of(metric)
    if key not in subject.texts:
        subject.texts[key] = _read(metric, subject)
    return subject.texts[key]


def chunks_of(metric: TextMetric, subject: Subject) -> list[Ids]:
    """The chunks that a metric reads, [context_length] each; see `qairt.evaluate` for the rule.

    Raises:
        EvaluationError: the text has fewer chunks than the metric asks for, or none at all.
    """
    text, length = text_of(metric, subject), subject.context_length
    if text.digest not in subject.token_ids:
        subject.token_ids[text.digest] = np.asarray(subject.tokenizer.encode(text.text), np.int64)
    ids = subject.token_ids[text.digest]
    available = len(ids) // length
    wanted = metric.chunks or max(available, 1)
    if available < wanted:
        chunks = "a chunk takes" if wanted == 1 else f"{wanted} chunks take"
        raise EvaluationError(
            f"the text has {len(ids):,} tokens, {chunks} {wanted * length:,}",
            where=text.name,
            remedy=f"ask for at most {counted(available, 'chunk')}"
            if available
            else "give a longer text, or set evaluator.context_length to fewer tokens",
        )
    return spread_chunks(ids, wanted, length)


def _read(metric: TextMetric, subject: Subject) -> EvaluationText:
    if metric.dataset is None:
        return _from_file(Path(str(package_files("qairt") / "data" / SHIPPED)), SHIPPED)
    path = Path(metric.dataset)
    if path.is_file():
        return _from_file(path, path.name)
    if is_path(metric.dataset):
        raise EvaluationError("there is no such text file", where=metric.dataset, remedy=_REMEDY)
    return _from_hub(metric.dataset, metric)


def _from_file(path: Path, name: str) -> EvaluationText:
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise EvaluationError(f"it is not UTF-8 text: byte {error.start:,}", where=str(path), remedy=_REMEDY) from error
    except OSError as error:
        raise EvaluationError(f"it cannot be read: {error.strerror}", where=str(path), remedy=_REMEDY) from error
    if not text.strip():
        raise EvaluationError("the text is empty", where=str(path), remedy=_REMEDY)
    return EvaluationText(name, text)


def _from_hub(name: str, metric: TextMetric) -> EvaluationText:
    """The texts of a data set, separated by blank lines as in Hugging Face's own guide."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise EvaluationError(
            "there is no such file, and reading a data set of the Hugging Face hub needs the package datasets",
            where=name,
            remedy=f"pip install 'qairt[eval]', or {_REMEDY}",
        ) from None
    hub_name, subset = _WIKITEXT if name == "wikitext" else (name, None)
    try:
        rows: _Rows = load_dataset(hub_name, metric.subset or subset, split=metric.split)
    except Exception as error:  # the library raises one of many kinds
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EvaluationError(
            f"there is no such file, and loading it from the Hugging Face hub failed: {reason}",
            where=name,
            remedy=_REMEDY,
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
    return EvaluationText(f"{name} ({metric.split})", text)
