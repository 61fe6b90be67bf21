"""lm-eval's view of the model: log-likelihoods of continuations, and answers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from qairt.errors import EvaluationError
from qairt.evaluate.measured import Measured, piece_of
from qairt.evaluate.subject import GROUP_TOKENS
from qairt.quant.measure.calibration import one_thread_each
from qairt.recipe.names import nearest

if TYPE_CHECKING:
    from qairt.evaluate.subject import Subject
    from qairt.evaluate.task_metric import TaskMetric


def require_task(metric: TaskMetric, subject: Subject) -> None:
    """
    Raises:
        EvaluationError: lm-eval does not know the task.
    """
    known = _tasks(subject).all_tasks
    if metric.asked_task not in known:
        close = nearest(metric.asked_task, known)
        raise EvaluationError(
            f"lm-eval has no task {metric.asked_task}",
            where=f"the metric {metric.title}",
            remedy=(f"did you mean {close}? " if close else "") + "`lm_eval --tasks list` names its tasks",
        )


def measure_task(metric: TaskMetric, subject: Subject) -> float:
    """The score of a task.

    Raises:
        EvaluationError: lm-eval cannot load its data.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            results: Any = simple_evaluate(
                model=Evaluated(metric, subject),
                tasks=[metric.asked_task],
                task_manager=_tasks(subject),
                num_fewshot=metric.num_fewshot,
                limit=metric.limit,
                bootstrap_iters=0,
                log_samples=False,
            )
    except EvaluationError:
        raise
    except Exception as error:  # of the library, of its data sets, of the network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EvaluationError(
            f"lm-eval cannot run the task {metric.asked_task}: {reason}",
            where=f"the metric {metric.title}",
            remedy="a task's data comes from the Hugging Face hub: try again where it can be reached",
        ) from error
    return _score(results, metric)


def _tasks(subject: Subject) -> Any:
    """lm-eval's tasks, found once."""
    if "lm-eval" not in subject.facts:
        subject.progress("reading lm-eval's tasks", 0.0)  # it takes seconds
        subject.facts["lm-eval"] = TaskManager()
        subject.progress("reading lm-eval's tasks", 1.0)
    return subject.facts["lm-eval"]


class Evaluated(LM):  # type: ignore[misc]
    """A `Subject` as lm-eval asks it. What was answered is kept, request by request."""

    def __init__(self, metric: TaskMetric, subject: Subject) -> None:
        super().__init__()
        self._metric = metric.model_copy(update={"num_fewshot": None, "limit": None, "score": None})
        self._title = metric.title
        self._subject = subject
        self._measured = Measured(subject.state_folder, subject.identity)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation), the continuation's log-likelihood and whether it is the likeliest."""
        return self._likelihoods([self._encoded(*request.args) for request in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """For each text, the log-likelihood of all of it, in windows of the context."""
        length = self._subject.context_length
        windows: list[tuple[list[int], list[int]]] = []
        ends = []
        for request in requests:
            ids = [self._start(), *self._subject.tokenizer.encode(request.args[0])]
            windows += [(ids[at : at + 1], ids[at + 1 : at + length]) for at in range(0, len(ids) - 1, length - 1)]
            ends.append(len(windows))
        found = [likelihood for likelihood, _ in self._likelihoods(windows)]
        return [sum(found[start:end]) for start, end in pairwise([0, *ends])]

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """For each prompt, the answer up to the first of the texts that end it."""
        pieces = [piece_of(["until", *map(str, request.args)]) for request in requests]
        asked = [at for at, piece in enumerate(pieces) if self._measured.get(self._metric, piece) is None]
        if asked:
            with self._subject.open_generator() as generator:
                for count, at in enumerate(asked):
                    self._subject.progress(f"{self._title}: {len(asked)} answers", count / len(asked))
                    answer = self._answer(generator, *requests[at].args)
                    self._measured.add(self._metric, pieces[at], {"answer": answer})
        return [str((self._measured.get(self._metric, piece) or {})["answer"]) for piece in pieces]

    def _answer(self, generator: Any, prompt: str, settings: dict[str, Any]) -> str:
        from qairt.runtime.generate import Generation
        from qairt.runtime.sampling import Sampling

        subject = self._subject
        stops = settings.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        new = int(settings.get("max_gen_toks", 256))
        generator.reset()
        ids = subject.tokenizer.encode(prompt)[-max(generator.room - new, 1) :]
        answer = Generation(generator, subject.tokenizer, ids, Sampling(), new, frozenset(subject.config.eos_token_ids))
        for _ in answer:
            if any(stop in answer.text for stop in stops):
                break
        text = answer.text
        for stop in stops:
            text = text.split(stop)[0]
        return text

    def _encoded(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Both as ids. Spaces between them belong to the continuation: so tokens do not run across."""
        encode = self._subject.tokenizer.encode
        kept = context.rstrip()
        continuation = context[len(kept) :] + continuation
        if not kept:
            return [self._start()], encode(continuation)
        before, whole = encode(kept), encode(kept + continuation)
        return before, whole[len(before) :]

    def _start(self) -> int:
        config = self._subject.config
        return config.bos_token_id if config.bos_token_id is not None else (config.eos_token_ids or (0,))[0]

    def _likelihoods(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        length = self._subject.context_length
        # All but the last token is read; of a text that is too long, the end.
        cut = [((before + after)[-length - 1 :], min(len(after), length)) for before, after in pairs]
        pieces = [piece_of(["likelihood", ids, count]) for ids, count in cut]
        asked = {
            piece: pair
            for piece, pair in zip(pieces, cut, strict=True)
            if self._measured.get(self._metric, piece) is None
        }
        if asked:
            self._read(asked)
        found = [self._measured.get(self._metric, piece) or {} for piece in pieces]
        return [(float(one["likelihood"]), bool(one["likeliest"])) for one in found]

    def _read(self, asked: dict[str, tuple[list[int], int]]) -> None:
        subject, device = self._subject, self._subject.device
        what, ready = f"{self._title}: {len(asked)} continuations", 0
        with (
            one_thread_each(1 if device != "cpu" else None) as pool,
            subject.text_models(pool, length=subject.context_length, device=device, with_reference=False) as (model, _),
        ):
            for group in _groups(list(asked.items())):
                model.read([np.asarray(ids[:-1], np.int64) for _, (ids, _) in group], lambda part: None)
                for place, (piece, (ids, count)) in enumerate(group):
                    self._measured.add(self._metric, piece, _likelihood(model, place, ids, count))
                ready += len(group)
                subject.progress(what, ready / len(asked))


@torch.inference_mode()
def _likelihood(model: Any, place: int, ids: list[int], count: int) -> dict[str, Any]:
    """Of the last `count` tokens."""
    first = len(ids) - 1 - count
    total, likeliest = 0.0, True
    for start, logits in model.logits(place):
        skipped = max(first - start, 0)
        rows = logits[skipped:]
        if not len(rows):
            continue
        targets = torch.tensor(ids[start + skipped + 1 : start + 1 + len(logits)], device=rows.device)
        total += float(rows.log_softmax(-1).gather(1, targets[:, None]).double().sum())
        likeliest = likeliest and bool((rows.argmax(-1) == targets).all())
    return {"likelihood": total, "likeliest": likeliest}


def _groups(asked: list[Any]) -> list[list[Any]]:
    """Requests of about `GROUP_TOKENS` together."""
    groups: list[list[Any]] = [[]]
    held = 0
    for piece, (ids, count) in asked:
        if held + len(ids) > GROUP_TOKENS and groups[-1]:
            groups.append([])
            held = 0
        groups[-1].append((piece, (ids, count)))
        held += len(ids)
    return groups


def _score(results: Any, metric: TaskMetric) -> float:
    """The wanted score of a task; of a group, lm-eval's own mean over its tasks."""
    found = {**results.get("results", {}), **results.get("groups", {})}.get(metric.asked_task, {})
    scores = {
        name.split(",")[0]: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and "stderr" not in name and name.split(",")[0] not in ("sample_len",)
    }
    if (metric.score is not None and metric.score not in scores) or not scores:
        raise EvaluationError(
            f"the task {metric.asked_task} has no score {metric.score or 'at all'}",
            where=f"the metric {metric.title}",
            remedy=f"it has {', '.join(scores) or 'none'}",
        )
    return scores[metric.score] if metric.score is not None else next(iter(scores.values()))
