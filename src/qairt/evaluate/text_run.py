"""Measuring text metrics: the text's chunks go through the model in groups, and results are stored chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from dataclasses import dataclass
from functools import partial

import torch

from qairt.amounts import count as counted
from qairt.errors import EvaluationError
from qairt.evaluate.measured import MeasuredPieces, PieceResult, piece_of
from qairt.evaluate.metric import Sums, TextMetric
from qairt.evaluate.subject import Subject
from qairt.evaluate.text_model import Done, Ids, ReferenceModel, TextModel
from qairt.evaluate.texts import chunks_of, text_of
from qairt.evaluate.token_scores import TokenScores
from qairt.quant.threads import one_thread_each


def measure_text(metrics: Sequence[TextMetric], subject: Subject) -> list[float]:
    """The scores of metrics that read one text. Chunks that were measured before are not measured again.

    Raises:
        EvaluationError: the text is too short or cannot be read, or the model computes NaN or infinity.
    """
    contents: dict[str, Ids] = {}
    pieces_of_metric: list[list[str]] = []  # a text may repeat a chunk
    for metric in metrics:
        chunks = chunks_of(metric, subject)
        pieces = [piece_of(ids.tolist()) for ids in chunks]
        contents |= dict(zip(pieces, chunks, strict=True))
        pieces_of_metric.append(pieces)
    measured = MeasuredPieces(subject.state_folder, subject.identity)
    pending = []
    for piece, ids in contents.items():
        readers = [metric for metric, pieces in zip(metrics, pieces_of_metric, strict=True) if piece in pieces]
        missing = [metric for metric in readers if measured.get(metric, piece) is None]
        if missing:
            pending.append(_Chunk(ids, piece, missing))
    if pending:
        _measure(pending, measured, subject, _title(metrics, subject, max(map(len, pieces_of_metric))))
    scores = []
    for metric, pieces in zip(metrics, pieces_of_metric, strict=True):
        results = [measured.get(metric, piece) for piece in pieces]
        scores.append(metric.score(total([_as_sums(result) for result in results if result is not None])))
    return scores


@dataclass(frozen=True)
class _Chunk:
    """A chunk, and the metrics that have not measured it."""

    ids: Ids
    piece: str
    metrics: list[TextMetric]


class _Meter:
    """Progress over groups of chunks: each is read by the reference, read by the model, then scored."""

    def __init__(self, subject: Subject, title: str, chunks: int) -> None:
        self._report = partial(subject.progress, title)
        self._chunks = chunks
        self._finished = 0
        self._report(0.0)

    def phase(self, group: int, start: float, stop: float) -> Done:
        """Progress from `start` to `stop` of the work on a group of `group` chunks."""

        def done(fraction: float) -> None:
            self._report((self._finished + group * (start + fraction * (stop - start))) / self._chunks)

        return done

    def finish(self, group: int) -> None:
        self._finished += group
        self._report(self._finished / self._chunks)


def _measure(pending: Sequence[_Chunk], measured: MeasuredPieces, subject: Subject, title: str) -> None:
    device = subject.device
    needs_reference = any(metric.needs_reference for chunk in pending for metric in chunk.metrics)
    meter = _Meter(subject, title, len(pending))
    with (
        one_thread_each(device=device) as pool,
        subject.text_models(pool, length=subject.context_length, device=device, with_reference=needs_reference) as (
            model,
            reference,
        ),
    ):
        for group in _groups(pending, subject):
            sequences = [chunk.ids for chunk in group]
            readers: list[TextModel] = [model] if reference is None or reference is model else [reference, model]
            start = 0.0
            for reader in readers:
                stop = start + reader.read_fraction / len(readers)
                reader.read(sequences, meter.phase(len(group), start, stop))
                start = stop
            scorer = _Scorer(model, reference, measured, meter.phase(len(group), start, 1.0))
            if model.is_concurrent:
                scorer.score_concurrently(group, pool)
            else:
                scorer.score_in_turn(group)
            meter.finish(len(group))


@dataclass(frozen=True)
class _Scorer:
    """Scores the chunks of a group that the model has read."""

    model: TextModel
    reference: ReferenceModel | None
    measured: MeasuredPieces
    done: Done

    def score_concurrently(self, group: Sequence[_Chunk], pool: Executor) -> None:
        futures = {
            pool.submit(scored, self.model, self.reference, index, chunk.ids, chunk.metrics): chunk
            for index, chunk in enumerate(group)
        }
        try:
            for finished, future in enumerate(as_completed(futures), start=1):
                self._store(futures[future], future.result())
                self.done(finished / len(group))
        except BaseException:
            for future in futures:
                future.cancel()
            raise

    def score_in_turn(self, group: Sequence[_Chunk]) -> None:
        for index, chunk in enumerate(group):
            done = partial(_done_within, self.done, index, len(group))
            self._store(chunk, scored(self.model, self.reference, index, chunk.ids, chunk.metrics, done))

    def _store(self, chunk: _Chunk, sums_of_metric: Sequence[Sums]) -> None:
        for metric, sums in zip(chunk.metrics, sums_of_metric, strict=True):
            if not all(math.isfinite(value) for value in sums.values()):
                raise EvaluationError(
                    f"the model computes NaN or infinity on the text that begins with the tokens "
                    f"{', '.join(map(str, chunk.ids[:4]))}",
                    where=metric.title,
                    remedy="`qairt verify RECIPE` shows the first stage that does",
                )
        for metric, sums in zip(chunk.metrics, sums_of_metric, strict=True):
            self.measured.add(metric, chunk.piece, sums)


@torch.inference_mode()
def scored(
    model: TextModel,
    reference: ReferenceModel | None,
    index: int,
    chunk: Ids,
    metrics: Sequence[TextMetric],
    done: Done = lambda fraction: None,
) -> list[Sums]:
    """Each metric's sums over a chunk that was read as sequence `index`.

    Row `i` of the logits predicts token `i + 1`; the last row predicts none.
    """
    sums_of_metric: list[list[Sums]] = [[] for _ in metrics]
    ids = torch.from_numpy(chunk)
    for start, logits in model.logits(index):
        targets = ids[start + 1 : start + 1 + len(logits)].to(logits.device)
        if not len(targets):
            break
        count = len(targets)
        scores = TokenScores(logits[:count], targets, partial(_reference_rows, reference, index, start, start + count))
        for metric, sums in zip(metrics, sums_of_metric, strict=True):
            sums.append({**metric.sums(scores), "tokens": count})
        done((start + count) / len(ids))
    return [total(sums) for sums in sums_of_metric]


def _reference_rows(reference: ReferenceModel | None, index: int, start: int, stop: int) -> torch.Tensor:
    assert reference is not None  # a metric with needs_reference asks for it
    return reference.rows(index, start, stop)


def total(parts: Sequence[Sums]) -> dict[str, float]:
    """The sums over a text, from those over its parts."""
    found: dict[str, float] = {}
    for sums in parts:
        for name, value in sums.items():
            found[name] = found.get(name, 0.0) + value
    return found


def _as_sums(result: PieceResult) -> Sums:
    return {name: float(value) for name, value in result.items()}


def _groups(pending: Sequence[_Chunk], subject: Subject) -> Iterator[Sequence[_Chunk]]:
    """Groups of about `group_tokens`, of similar sizes."""
    count = math.ceil(len(pending) * subject.context_length / subject.group_tokens)
    size = math.ceil(len(pending) / count)
    for start in range(0, len(pending), size):
        yield pending[start : start + size]


def _done_within(done: Done, index: int, count: int, fraction: float) -> None:
    done((index + fraction) / count)


def _title(metrics: Sequence[TextMetric], subject: Subject, chunks: int) -> str:
    titles = ", ".join(metric.title for metric in metrics)
    return f"{titles} on {counted(chunks, 'chunk')} of {text_of(metrics[0], subject).name}"
