from __future__ import annotations

import pytest

from qairt.evaluate.answers import GenerationMetric, Question

PROMPTS = [{"prompt": "Say a.", "expected": "\n"}, {"prompt": "Say b.", "expected": ["none", "of these"]}]


@pytest.mark.parametrize(
    ("match", "answer", "right"),
    [
        ("contains", "It is PARIS, of course", True),
        ("contains", "It is London", False),
        ("starts", " paris.", True),
        ("starts", "It is Paris", False),
        ("equals", "Paris\n", True),
        ("equals", "Paris.", False),
    ],
)
def test_what_counts_as_right(match, answer, right):
    question = Question(prompt="Capital of France?", expected=("Paris", "Lutetia"))
    assert GenerationMetric(prompts=(question,), match=match).is_right(answer, question) is right


def test_answers_are_generated_once(subject_on):
    opened = []
    subject = subject_on("torch")
    given = subject.open_generator

    def counted():
        opened.append(1)
        return given()

    subject.open_generator = counted
    metric = GenerationMetric(prompts=PROMPTS[:1], max_new_tokens=4)
    score = metric.measure(subject)
    assert score in (0.0, 1.0)
    both = GenerationMetric(prompts=PROMPTS, max_new_tokens=4)
    assert both.measure(subject) == score / 2
    assert both.measure(subject) == score / 2
    assert len(opened) == 2
    GenerationMetric(prompts=PROMPTS, max_new_tokens=5).measure(subject)
    assert len(opened) == 3, "a longer answer is another one"
    subject.answer_length = 8
    both.measure(subject)
    assert len(opened) == 4, "and so is one in a shorter context"
