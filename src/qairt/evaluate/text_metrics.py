"""Metrics of predicted text: perplexity, and the distance from the float model."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qairt.evaluate.metric import Sums, TextMetric, register_metric

if TYPE_CHECKING:
    from qairt.evaluate.token_scores import TokenScores


@register_metric
class Perplexity(TextMetric):
    """exp of the mean negative log-likelihood of the text's tokens; see `qairt.evaluate` for the rule."""

    name = "perplexity"
    higher_is_better = False

    def sums(self, scores: TokenScores) -> Sums:
        return {"loss": -float(scores.log_likelihoods().double().sum())}

    def score(self, sums: Sums) -> float:
        try:
            return math.exp(sums["loss"] / sums["tokens"])
        except OverflowError:
            return math.inf


@register_metric
class KlDivergence(TextMetric):
    """Mean KL(float || measured) of the next token's distribution, in nats; 0 when they are equal."""

    name = "kl_divergence"
    higher_is_better = False
    needs_reference = True

    def sums(self, scores: TokenScores) -> Sums:
        reference = scores.reference_log_probabilities
        terms = (reference - scores.log_probabilities).mul_(reference.exp())
        return {"divergence": float(terms.double().sum())}

    def score(self, sums: Sums) -> float:
        return sums["divergence"] / sums["tokens"]


@register_metric
class Top1Agreement(TextMetric):
    """Share of tokens after which the most likely next token is the float model's."""

    name = "top1_agreement"
    needs_reference = True

    def sums(self, scores: TokenScores) -> Sums:
        same = scores.log_probabilities.argmax(-1) == scores.reference_log_probabilities.argmax(-1)
        return {"same": float(same.sum())}

    def score(self, sums: Sums) -> float:
        return sums["same"] / sums["tokens"]
