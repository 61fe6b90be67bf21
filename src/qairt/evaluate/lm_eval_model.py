"""The model as lm-eval uses it: log-likelihoods of continuations, and answers."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from qairt.errors import EvaluationError, QairtError
from qairt.evaluate.measured import MeasuredPieces, PieceResult, piece_of
from qairt.evaluate.subject import Subject, TaskIndex
from qairt.evaluate.task_metric import TaskMetric
from qairt.evaluate.text_model import TextModel
from qairt.quant.threads import one_thread_each
from qairt.recipe.names import nearest
from qairt.runtime.generator import Generator


class LmEvalRequest(Protocol):
    """A request of lm-eval."""

    args: tuple[Any, ...]


def require_task(metric: TaskMetric, subject: Subject) -> None:
    """
    Raises:
        EvaluationError: lm-eval does not know the task.
    """
    known = _tasks(metric, subject).all_tasks
    if metric.task_name not in known:
        close = nearest(metric.task_name, known)
        raise EvaluationError(
            f"lm-eval has no task {metric.task_name}",
            where=f"the metric {metric.title}",
            remedy=(f"did you mean {close}? " if close else "")
            + "`lm_eval --tasks list` names its tasks; `include_path` is the folder of your own",
        )


def measure_task(metric: TaskMetric, subject: Subject) -> float:
    """The score of a task.

    Raises:
        EvaluationError: lm-eval cannot load its data.
        QairtError: the model cannot be read.
    """
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            results = simple_evaluate(
                model=LmEvalModel(metric, subject),
                tasks=[metric.task_name],
                task_manager=_tasks(metric, subject),
                num_fewshot=metric.num_fewshot,
                limit=metric.limit,
                bootstrap_iters=0,
                log_samples=False,
            )
    except QairtError:
        raise
    except Exception as error:  # of the library, of its data sets, of the network
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EvaluationError(
            f"lm-eval cannot run the task {metric.task_name}: {reason}",
            where=f"the metric {metric.title}",
            remedy="a task's data comes from the Hugging Face hub, if its file does not name others: "
            "try again where they can be reached",
        ) from error
    return _score(results, metric)


def _tasks(metric: TaskMetric, subject: Subject) -> TaskIndex:
    """lm-eval's tasks and those of the metric's `include_path`, loaded once."""
    if metric.include_path not in subject.tasks:
        subject.progress("reading lm-eval's tasks", 0.0)  # it takes seconds
        subject.tasks[metric.include_path] = TaskManager(include_path=metric.include_path)
        subject.progress("reading lm-eval's tasks", 1.0)
    return subject.tasks[metric.include_path]


@dataclass(frozen=True)
class Continuation:
    """Token ids whose last `count` are scored."""

    ids: list[int]
    count: int

    @property
    def piece(self) -> str:
        """What names it among stored results."""
        return piece_of(["likelihood", self.ids, self.count])


class LmEvalModel(LM):  # type: ignore[misc]
    """A `Subject` behind lm-eval's interface. Results are stored request by request."""

    def __init__(self, metric: TaskMetric, subject: Subject) -> None:
        super().__init__()
        self._metric = metric
        self._title = metric.title
        self._subject = subject
        self._measured = MeasuredPieces(subject.state_folder, subject.identity)

    def loglikelihood(self, requests: Sequence[LmEvalRequest], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """For each (context, continuation), the continuation's log-likelihood and whether it is the most likely."""
        return self._likelihoods([self._encoded(*request.args) for request in requests])

    def loglikelihood_rolling(self, requests: Sequence[LmEvalRequest], disable_tqdm: bool = False) -> list[float]:
        """For each text, the log-likelihood of all of it, in lm-eval's windows of the context length: each token is
        scored once, and the last window reads its whole left context."""
        windows: list[tuple[list[int], list[int]]] = []
        ends = []
        for request in requests:
            windows += map(
                make_disjoint_window,
                get_rolling_token_windows(
                    self._encode(request.args[0]),
                    prefix_token=self._start(),
                    max_seq_len=self._subject.context_length,
                    context_len=1,
                ),
            )
            ends.append(len(windows))
        likelihoods = [likelihood for likelihood, _ in self._likelihoods(windows)]
        return [sum(likelihoods[start:end]) for start, end in pairwise([0, *ends])]

    def generate_until(self, requests: Sequence[LmEvalRequest], disable_tqdm: bool = False) -> list[str]:
        """For each prompt, the answer up to the first of the stop texts."""
        length = self._subject.answer_length  # a prompt that leaves no room for the answer is cut
        pieces = [piece_of(["until", length, *map(str, request.args)]) for request in requests]
        pending = [at for at, piece in enumerate(pieces) if self._measured.get(self._metric, piece) is None]
        if pending:
            with self._subject.open_generator() as generator:
                for count, at in enumerate(pending):
                    self._subject.progress(f"{self._title}: {len(pending)} answers", count / len(pending))
                    answer = self._answer(generator, *requests[at].args)
                    self._measured.add(self._metric, pieces[at], {"answer": answer})
        return [str((self._measured.get(self._metric, piece) or {})["answer"]) for piece in pieces]

    def _answer(self, generator: Generator, prompt: str, settings: Mapping[str, Any]) -> str:
        from qairt.runtime.generate import Generation
        from qairt.runtime.sampling import Sampling

        subject = self._subject
        stops = settings.get("until") or []
        stops = [stop for stop in ([stops] if isinstance(stops, str) else stops) if stop]
        max_new_tokens = int(settings.get("max_gen_toks", 256))
        generator.reset()
        ids = self._encode(prompt)[-max(generator.room - max_new_tokens, 1) :]
        eos_ids = frozenset(subject.config.eos_token_ids)
        answer = Generation(generator, subject.tokenizer, ids, Sampling(), max_new_tokens, eos_ids)
        for _ in answer:
            if any(stop in answer.text for stop in stops):
                break
        text = answer.text
        for stop in stops:
            text = text.split(stop)[0]
        return text

    def _encoded(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Both as ids. A space between them is part of the continuation, so that no token spans both."""
        stripped = context.rstrip()
        continuation = context[len(stripped) :] + continuation
        if not stripped:
            return [self._start()], self._subject.tokenizer.encode(continuation)
        before, whole = self._encode(stripped), self._encode(stripped + continuation)
        return before, whole[len(before) :]

    def _encode(self, text: str) -> list[int]:
        """As lm-eval's Hugging Face backend: with the tokenizer's special tokens, the beginning only once."""
        tokenizer = self._subject.tokenizer
        start = tokenizer.special_token("bos_token")
        return tokenizer.encode(text, add_special_tokens=not (start and text.startswith(start)))

    def _start(self) -> int:
        """The token before a text, as lm-eval's Hugging Face backend: the tokenizer's beginning, else its end."""
        tokenizer = self._subject.tokenizer
        for kind in ("bos_token", "eos_token"):
            token = tokenizer.special_token(kind)
            if token is not None and (found := tokenizer.fast.token_to_id(token)) is not None:
                return found
        return (self._subject.config.eos_token_ids or (0,))[0]

    def _likelihoods(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        length = self._subject.context_length
        # The last token is scored but not read; of a text that is too long, the end is kept.
        requests = [Continuation((before + after)[-length - 1 :], min(len(after), length)) for before, after in pairs]
        pending = {
            request.piece: request for request in requests if self._measured.get(self._metric, request.piece) is None
        }
        if pending:
            self._read(list(pending.values()))
        results = [self._measured.get(self._metric, request.piece) or {} for request in requests]
        return [(float(result["likelihood"]), bool(result["likeliest"])) for result in results]

    def _read(self, pending: Sequence[Continuation]) -> None:
        subject, device = self._subject, self._subject.device
        what, finished = f"{self._title}: {len(pending)} continuations", 0
        with (
            one_thread_each(device=device) as pool,
            subject.text_models(pool, length=subject.context_length, device=device, with_reference=False) as (model, _),
        ):
            for group in _groups(pending, subject.group_tokens):
                model.read([np.asarray(request.ids[:-1], np.int64) for request in group], lambda fraction: None)
                for index, request in enumerate(group):
                    self._measured.add(self._metric, request.piece, _likelihood(model, index, request))
                finished += len(group)
                subject.progress(what, finished / len(pending))


@torch.inference_mode()
def _likelihood(model: TextModel, index: int, request: Continuation) -> PieceResult:
    """The log-likelihood of the scored tokens, and whether greedy decoding gives them."""
    ids = request.ids
    first = len(ids) - 1 - request.count
    total, is_likeliest = 0.0, True
    for start, logits in model.logits(index):
        skipped = max(first - start, 0)
        rows = logits[skipped:]
        if not len(rows):
            continue
        targets = torch.tensor(ids[start + skipped + 1 : start + 1 + len(logits)], device=rows.device)
        total += float(rows.log_softmax(-1).gather(1, targets[:, None]).double().sum())
        is_likeliest = is_likeliest and bool((rows.argmax(-1) == targets).all())
    return {"likelihood": total, "likeliest": is_likeliest}


def _groups(pending: Sequence[Continuation], most: int) -> list[list[Continuation]]:
    """Groups of at most so many tokens, but at least one continuation each."""
    groups: list[list[Continuation]] = [[]]
    tokens = 0
    for request in pending:
        if tokens + len(request.ids) > most and groups[-1]:
            groups.append([])
            tokens = 0
        groups[-1].append(request)
        tokens += len(request.ids)
    return groups


def _score(results: Mapping[str, Any], metric: TaskMetric) -> float:
    """The requested score of a task; of a group, lm-eval's own mean over its tasks."""
    of_task = {**results.get("results", {}), **results.get("groups", {})}.get(metric.task_name, {})
    scores = {
        name.split(",")[0]: float(value)
        for name, value in of_task.items()
        if isinstance(value, int | float) and "stderr" not in name and name.split(",")[0] not in ("sample_len",)
    }
    if (metric.score is not None and metric.score not in scores) or not scores:
        raise EvaluationError(
            f"the task {metric.task_name} has no score {metric.score or 'at all'}",
            where=f"the metric {metric.title}",
            remedy=f"it has {', '.join(scores) or 'none'}",
        )
    return scores[metric.score] if metric.score is not None else next(iter(scores.values()))
