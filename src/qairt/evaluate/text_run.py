"""Text metrics measured: the text's chunks go through the model in groups, and what is found is kept chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial

import torch

from qairt.amounts import count as counted
from qairt.errors import EvaluationError
from qairt.evaluate.measured import Measured, piece_of
from qairt.evaluate.metric import Sums, TextMetric
from qairt.evaluate.subject import GROUP_TOKENS, Subject
from qairt.evaluate.text_model import Done, Ids, ReferenceModel, TextModel
from qairt.evaluate.texts import chunks_of, text_of
from qairt.evaluate.token_scores import TokenScores
from qairt.quant.measure.calibration import one_thread_each


def measure_text(metrics: Sequence[TextMetric], subject: Subject) -> list[float]:
    """The scores of metrics that read one text. Chunks that were measured before are not measured again.

    Raises:
        EvaluationError: the text is too short or cannot be read, or the model computes NaN or infinity.
    """
    contents: dict[str, Ids] = {}
    read: list[list[str]] = []  # the pieces of each metric; a text may say the same twice
    for metric in metrics:
        chunks = chunks_of(metric, subject)
        pieces = [piece_of(ids.tolist()) for ids in chunks]
        contents |= dict(zip(pieces, chunks, strict=True))
        read.append(pieces)
    measured = Measured(subject.state_folder, subject.identity)
    asked = []
    for piece, ids in contents.items():
        wanting = [metric for metric, pieces in zip(metrics, read, strict=True) if piece in pieces]
        missing = [metric for metric in wanting if measured.get(metric, piece) is None]
        if missing:
            asked.append(_Chunk(ids, piece, missing))
    if asked:
        _measure(asked, measured, subject, _what(metrics, subject, max(map(len, read))))
    scores = []
    for metric, pieces in zip(metrics, read, strict=True):
        found = [measured.get(metric, piece) for piece in pieces]
        scores.append(metric.score(added([sums for sums in found if sums is not None])))
    return scores


@dataclass(frozen=True)
class _Chunk:
    """A chunk, and the metrics that have not seen it."""

    ids: Ids
    piece: str
    metrics: list[TextMetric]


class _Meter:
    """Progress of groups: of each, reading by the reference, reading by the model, scoring."""

    def __init__(self, subject: Subject, what: str, chunks: int) -> None:
        self._say = partial(subject.progress, what)
        self._chunks = chunks
        self._finished = 0
        self._say(0.0)

    def phase(self, group: int, start: float, stop: float) -> Done:
        """Progress within `start` … `stop` of the work on a group of `group` chunks."""

        def done(part: float) -> None:
            self._say((self._finished + group * (start + part * (stop - start))) / self._chunks)

        return done

    def finish(self, group: int) -> None:
        self._finished += group
        self._say(self._finished / self._chunks)


def _measure(asked: Sequence[_Chunk], measured: Measured, subject: Subject, what: str) -> None:
    device = subject.device
    wants_reference = any(metric.needs_reference for chunk in asked for metric in chunk.metrics)
    meter = _Meter(subject, what, len(asked))
    with (
        one_thread_each(1 if device != "cpu" else None) as pool,
        subject.text_models(pool, length=subject.context_length, device=device, with_reference=wants_reference) as (
            model,
            reference,
        ),
    ):
        for group in _groups(asked, subject.context_length):
            sequences, count = [chunk.ids for chunk in group], len(group)
            read_by = [one for one in (reference, model) if one is not None]
            read_by = read_by[:1] if reference is model else read_by
            start = 0.0
            for one in read_by:
                stop = start + one.share_before / len(read_by)
                one.read(sequences, meter.phase(count, start, stop))
                start = stop
            scoring = meter.phase(count, start, 1.0)
            if model.side_by_side:
                futures = {
                    pool.submit(scored, model, reference, place, chunk.ids, chunk.metrics): place
                    for place, chunk in enumerate(group)
                }
                try:
                    for finished, future in enumerate(as_completed(futures), start=1):
                        _keep(measured, group[futures[future]], future.result())
                        scoring(finished / count)
                except BaseException:
                    for future in futures:
                        future.cancel()
                    raise
            else:
                for place, chunk in enumerate(group):
                    done = partial(_within, scoring, place, count)
                    found = scored(model, reference, place, chunk.ids, chunk.metrics, done)
                    _keep(measured, chunk, found)
            meter.finish(count)


@torch.inference_mode()
def scored(
    model: TextModel,
    reference: ReferenceModel | None,
    place: int,
    chunk: Ids,
    metrics: Sequence[TextMetric],
    done: Done = lambda part: None,
) -> list[Sums]:
    """What each metric finds in a chunk that was read as number `place`.

    Row `i` of the logits is about token `i + 1`, the last one none.
    """
    found: list[list[Sums]] = [[] for _ in metrics]
    ids = torch.from_numpy(chunk)
    for start, logits in model.logits(place):
        targets = ids[start + 1 : start + 1 + len(logits)].to(logits.device)
        if not len(targets):
            break
        count = len(targets)
        scores = TokenScores(logits[:count], targets, partial(_reference_rows, reference, place, start, start + count))
        for metric, sums in zip(metrics, found, strict=True):
            sums.append({**metric.sums(scores), "tokens": count})
        done((start + count) / len(ids))
    return [added(sums) for sums in found]


def _reference_rows(reference: ReferenceModel | None, place: int, start: int, stop: int) -> torch.Tensor:
    assert reference is not None  # a metric with needs_reference is there
    return reference.rows(place, start, stop)


def _keep(measured: Measured, chunk: _Chunk, found: Sequence[Sums]) -> None:
    for metric, sums in zip(chunk.metrics, found, strict=True):
        if not all(math.isfinite(value) for value in sums.values()):
            raise EvaluationError(
                f"the model computes NaN or infinity on the text that begins with the tokens "
                f"{', '.join(map(str, chunk.ids[:4]))}",
                where=metric.title,
                remedy="`qairt verify RECIPE` shows in which stage it begins",
            )
    for metric, sums in zip(chunk.metrics, found, strict=True):
        measured.add(metric, chunk.piece, sums)


def added(found: Sequence[Sums]) -> dict[str, float]:
    """The sums of pieces of a text as those of the whole."""
    total: dict[str, float] = {}
    for sums in found:
        for name, value in sums.items():
            total[name] = total.get(name, 0.0) + value
    return total


def _groups(asked: Sequence[_Chunk], length: int) -> Iterator[Sequence[_Chunk]]:
    """Groups of about `GROUP_TOKENS`, of like sizes."""
    count = math.ceil(len(asked) * length / GROUP_TOKENS)
    size = math.ceil(len(asked) / count)
    for start in range(0, len(asked), size):
        yield asked[start : start + size]


def _within(done: Done, place: int, count: int, part: float) -> None:
    done((place + part) / count)


def _what(metrics: Sequence[TextMetric], subject: Subject, chunks: int) -> str:
    titles = ", ".join(metric.title for metric in metrics)
    return f"{titles} on {counted(chunks, 'chunk')} of {text_of(metrics[0], subject).name}"
