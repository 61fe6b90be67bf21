"""The metric `generation`: prompts whose answers are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from qairt.evaluate.metric import Metric, register_metric

if TYPE_CHECKING:
    from qairt.evaluate.subject import Subject


class Question(BaseModel):
    """A prompt and what its answer should be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[str, Field(pattern=r"\S")]
    expected: str | tuple[str, ...]
    """Any of them counts."""


@register_metric
class GenerationMetric(Metric):
    """Share of prompts that are answered as expected. Tokens are the likeliest ones; case and space around do not
    count."""

    name = "generation"
    names_pieces = frozenset({"prompts"})

    prompts: Annotated[tuple[Question, ...], Field(min_length=1)]
    """Each `{prompt: …, expected: …}`; `expected` may be a list."""
    match: Literal["contains", "starts", "equals"] = "contains"
    """What the answer must do with what is expected."""
    max_new_tokens: Annotated[int, Field(gt=0)] = 32
    chat: bool | None = None
    """Put prompts into the model's chat template; where it has one when left out."""

    def measure(self, subject: Subject) -> float:
        from qairt.evaluate.measured import Measured, piece_of

        measured = Measured(subject.state_folder, subject.identity)
        pieces = [piece_of(question.model_dump(mode="json")) for question in self.prompts]
        what = f"{self.title} of {len(pieces)} answers"
        asked = [place for place, piece in enumerate(pieces) if measured.get(self, piece) is None]
        if asked:
            with subject.open_generator() as generator:
                from qairt.runtime.generate import generate

                for count, place in enumerate(asked):
                    subject.progress(what, count / len(asked))
                    question = self.prompts[place]
                    answer = generate(
                        generator,
                        subject.tokenizer,
                        question.prompt,
                        max_new_tokens=self.max_new_tokens,
                        eos_ids=subject.config.eos_token_ids,
                        chat=self.chat,
                    ).result.text
                    measured.add(self, pieces[place], {"answer": answer, "right": self.is_right(answer, question)})
            subject.progress(what, 1.0)
        found = [measured.get(self, piece) for piece in pieces]
        return sum(bool(answer and answer["right"]) for answer in found) / len(found)

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
