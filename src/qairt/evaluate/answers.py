"""The metric `generation`: prompts whose answers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qairt.evaluate.metric import Metric, register_metric

if TYPE_CHECKING:
    from qairt.evaluate.subject import Subject


class Question(BaseModel):
    """A prompt and its expected answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[str, Field(pattern=r"\S")]
    expected: str | tuple[str, ...]
    """Any of several counts."""


@register_metric
class GenerationMetric(Metric):
    """Share of prompts that are answered as expected. Decoding is greedy; case and surrounding space are ignored."""

    name = "generation"
    data_arguments = frozenset({"prompts"})

    prompts: Annotated[tuple[Question, ...], Field(min_length=1)]
    """Each `{prompt: …, expected: …}`; `expected` may be a list."""
    match: Literal["contains", "starts", "equals"] = "contains"
    """How the answer must match the expected text."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 32
    chat: bool | None = None
    """Put prompts into the model's chat template; left out: where the model has one."""

    def measure(self, subject: Subject) -> float:
        from qairt.evaluate.measured import MeasuredPieces, piece_of

        measured = MeasuredPieces(subject.state_folder, subject.identity)
        length = subject.answer_length  # where it ends, an answer is cut
        pieces = [piece_of([length, question.model_dump(mode="json")]) for question in self.prompts]
        what = f"{self.title} of {len(pieces)} answers"
        pending = [index for index, piece in enumerate(pieces) if measured.get(self, piece) is None]
        if pending:
            with subject.open_generator() as generator:
                from qairt.runtime.generate import generate

                for count, index in enumerate(pending):
                    subject.progress(what, count / len(pending))
                    question = self.prompts[index]
                    answer = generate(
                        generator,
                        subject.tokenizer,
                        question.prompt,
                        max_new_tokens=self.max_new_tokens,
                        eos_ids=subject.config.eos_token_ids,
                        chat=self.chat,
                    ).result.text
                    measured.add(self, pieces[index], {"answer": answer, "right": self.is_right(answer, question)})
            subject.progress(what, 1.0)
        results = [measured.get(self, piece) for piece in pieces]
        return sum(bool(result and result["right"]) for result in results) / len(results)

    def is_right(self, answer: str, question: Question) -> bool:
        """Whether an answer matches one that is expected."""
        given = answer.strip().casefold()
        expected = (question.expected,) if isinstance(question.expected, str) else question.expected
        wanted = [text.strip().casefold() for text in expected]
        match self.match:
            case "contains":
                return any(text in given for text in wanted)
            case "starts":
                return any(given.startswith(text) for text in wanted)
            case "equals":
                return any(given == text for text in wanted)
