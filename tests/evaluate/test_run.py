"""What measures each kind of metric."""

from __future__ import annotations

import pytest

from qairt.errors import EvaluationError
from qairt.evaluate.metric import Metric, TextMetric
from qairt.evaluate.run import evaluate
from qairt.evaluate.text_metrics import Perplexity, Top1Agreement

TEXT = [Perplexity(dataset="text.txt"), Top1Agreement(dataset="text.txt")]


class Constant(Metric):
    """A user's metric with its own `measure`."""

    name = "constant"

    value: float = 3.5

    def check(self, subject):
        if self.value < 0:
            raise EvaluationError("it is negative", where=self.title)

    def measure(self, subject):
        subject.progress(self.title, 1.0)
        return self.value


class LogTokens(TextMetric):
    """A user's text metric."""

    name = "log_tokens"

    def sums(self, scores):
        return {"seen": float(len(scores.targets))}

    def score(self, sums):
        return sums["seen"] / sums["tokens"]


class OwnPass(LogTokens):
    """A text metric that measures itself."""

    name = "own_pass"

    def measure(self, subject):
        return 7.0


def test_a_users_metrics_of_every_kind(subject_on):
    metrics = [Constant(), LogTokens(dataset="text.txt"), OwnPass(dataset="text.txt"), Perplexity(dataset="text.txt")]
    found = evaluate(metrics, subject_on("torch"))
    assert list(found) == ["constant", "log_tokens", "own_pass", "perplexity"]
    assert [record.score for record in found.values()][:3] == [3.5, 1.0, 7.0]
    assert found["constant"].dataset == ""
    assert found["own_pass"].dataset == "text.txt"
    assert found["own_pass"].chunks == found["perplexity"].chunks > 0


def test_a_metric_without_a_way_to_measure_it(subject_on):
    class Nothing(Metric):
        name = "nothing"

    with pytest.raises(EvaluationError) as raised:
        evaluate([Nothing()], subject_on("torch"))
    assert str(raised.value) == (
        "the metric nothing: it has no method measure\n  define measure(self, subject), or derive it from TextMetric"
    )


def test_every_metric_is_checked_before_the_first_is_measured(subject_on):
    measured = []
    subject = subject_on("torch", progress=lambda what, fraction: measured.append(what))
    with pytest.raises(EvaluationError, match=r"^constant: it is negative"):
        evaluate([Perplexity(dataset="text.txt"), Constant(value=-1.0)], subject)
    assert measured == []


def test_several_texts_and_metrics_in_their_order(subject_on, tmp_path):
    (tmp_path / "other.txt").write_text("something else, and more of it than a chunk")
    other = Perplexity(dataset="other.txt", display_name="elsewhere")
    found = evaluate([TEXT[0], other, TEXT[1]], subject_on("quantsim"))
    assert list(found) == ["perplexity", "elsewhere", "top1_agreement"]
    assert found["elsewhere"].chunks == 1
    assert found["elsewhere"].dataset == "other.txt"
    assert found["elsewhere"].score != found["perplexity"].score
    assert found["perplexity"].dataset_digest == found["top1_agreement"].dataset_digest


def test_nothing_is_measured_if_a_later_text_is_missing(subject_on):
    subject = subject_on("torch")
    with pytest.raises(EvaluationError, match=r"^gone.txt: there is no such text file"):
        evaluate([TEXT[0], Perplexity(dataset="gone.txt", display_name="gone")], subject)
    assert not subject.state_folder.exists()
