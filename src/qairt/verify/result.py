"""What `qairt verify` found: plain data, stored as JSON, judged against thresholds when it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

RUNGS = ("export", "prepare_exports", "split_model", "mha_to_sha_conversion", "quantize", "htp_emulator")
"""The ladder from the float model down: the stage whose graphs run, and last the quantized graphs as compiled."""

DEVICE = "device"
"""The quantized graphs as compiled, on a phone or board; measured only when it is asked for, and never stored."""

QUANTIZED = ("quantize", "htp_emulator", DEVICE)
"""Rungs whose graphs are rounded."""

TOKEN_RUNGS = ("genie",)
"""The rungs after those: a runtime that tells tokens and no tensors, beside the CPU on the same quantized parts."""

LOGITS = "logits"

Way = Literal["isolated", "chained"]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class OutputFidelity(_Data):
    """One output of one part's graph against the float model."""

    part: int
    ar: int
    way: Way
    """isolated: on the float model's own inputs. chained: on what the part before gave, with its own KV cache."""
    output: str
    tokens: int
    """Tokens compared."""
    sqnr_db: float
    """Over all tokens but the text's first, whose hidden state is so large that it would hide the others."""
    first_token_db: float | None = None
    """That of the text's first token, where it is among them."""
    max_error: float
    """Largest absolute difference, over the same tokens."""
    top1: float | None = None
    """Logits: fraction of tokens with the same likeliest next token."""
    kl: float | None = None
    """Logits: mean Kullback-Leibler divergence from the float model's distribution, in nats."""
    cpu_db: float | None = None
    """Emulator: SQNR against ONNX Runtime's CPU provider on the same graph and inputs."""


class LayerCost(_Data):
    """What quantizing one piece of the decoder alone costs, weights and activations, all else float."""

    name: str
    """`embedding`, `layer 3`, `lm_head`."""
    sqnr_db: float
    """Of what the piece itself gives: the hidden state after it, or the logits."""
    kl: float
    """Of the logits at the end, in nats."""
    top1: float


class RungFidelity(_Data):
    """One rung, measured."""

    rung: str
    tokens: int
    """Tokens of text that the chained parts ran on."""
    seconds: float
    outputs: tuple[OutputFidelity, ...]
    layers: tuple[LayerCost, ...] = ()
    """Of `quantize`, in the decoder's order; see `costliest`."""

    def costliest(self) -> list[LayerCost]:
        """Layers by what they cost at the logits, the dearest first."""
        return sorted(self.layers, key=lambda layer: -layer.kl)


class TokenFidelity(_Data):
    """Another runtime's greedy tokens beside those of ONNX Runtime's CPU provider, after the same prompt.

    After the first difference the two read different texts, and nothing more can be compared.
    """

    rung: str
    prompt: tuple[int, ...]
    cpu: tuple[int, ...]
    """The CPU's tokens, always the likeliest."""
    found: tuple[int, ...]
    """The other runtime's."""
    margin: float | None = None
    """At the first difference: the CPU's logit of its own token less that of the other's; None where all are equal."""
    seconds: float
    seconds_a_token: float
    """Of the other runtime, prompt and answer together."""

    @property
    def first_difference(self) -> int | None:
        """Place in the answer, from 0; None when all are equal."""
        return next((at for at, pair in enumerate(zip(self.cpu, self.found, strict=True)) if pair[0] != pair[1]), None)

    def passes(self, most: float) -> bool:
        """All are equal, or the first difference is nearly a tie."""
        return self.margin is None or self.margin <= most


class SkippedRung(_Data):
    """A rung that could not be measured."""

    rung: str
    why: str


class PartFidelity(_Data):
    """One part of one rung, its outputs and ARs put together: the worst of each."""

    rung: str
    part: int
    isolated_db: float | None
    chained_db: float | None
    needed_db: float
    max_error: float
    top1: float | None
    """Over all tokens of the chained parts, whatever their AR; likewise `kl`."""
    kl: float | None
    worst: str
    """The output with the lowest SQNR of those that are judged, its AR and way: `hidden_10, AR 1, chained`."""

    @property
    def judged_db(self) -> float:
        """What is compared with the threshold: of float rungs the lower of both ways, of quantized ones `isolated`, for
        there the errors of the parts before add up."""
        known = [db for db in (self.isolated_db, self.chained_db) if db is not None]
        return known[0] if self.rung in QUANTIZED else min(known)

    @property
    def passes(self) -> bool:
        return self.judged_db >= self.needed_db


class Verification(_Data):
    """The whole answer."""

    rungs: tuple[RungFidelity, ...]
    skipped: tuple[SkippedRung, ...]
    min_sqnr_db: dict[str, float]
    reused: tuple[str, ...] = ()
    """Rungs whose result was stored by an earlier call."""
    tokens: tuple[TokenFidelity, ...] = ()
    """Rungs of `TOKEN_RUNGS`."""
    max_tie: float = 0.5
    """Where tokens differ, the margin up to which that is a tie."""

    def parts(self) -> list[PartFidelity]:
        """Every part of every rung, in the order of the ladder."""
        return [
            _summary(rung.rung, part, [found for found in rung.outputs if found.part == part], self.min_sqnr_db)
            for rung in self.rungs
            for part in sorted({found.part for found in rung.outputs})
        ]

    def first_below(self) -> PartFidelity | None:
        """The first rung and part that falls below its threshold: where to look."""
        return next((part for part in self.parts() if not part.passes), None)

    def first_differing(self) -> TokenFidelity | None:
        """The first runtime that says something else, and not for a tie."""
        return next((found for found in self.tokens if not found.passes(self.max_tie)), None)

    @property
    def passes(self) -> bool:
        return self.first_below() is None and self.first_differing() is None


def _summary(rung: str, part: int, outputs: Sequence[OutputFidelity], needed: Mapping[str, float]) -> PartFidelity:
    def least(way: Way) -> float | None:
        return min((found.sqnr_db for found in outputs if found.way == way), default=None)

    judged = [found for found in outputs if found.way == "isolated" or rung not in QUANTIZED] or outputs
    worst = min(judged, key=lambda found: found.sqnr_db)
    logits = [found for found in outputs if found.output == LOGITS]
    logits = [found for found in logits if found.way == "chained"] or logits
    return PartFidelity(
        rung=rung,
        part=part,
        isolated_db=least("isolated"),
        chained_db=least("chained"),
        needed_db=needed[rung],
        max_error=max(found.max_error for found in outputs),
        top1=_mean([(found.top1, found.tokens) for found in logits]),
        kl=_mean([(found.kl, found.tokens) for found in logits]),
        worst=f"{worst.output}, AR {worst.ar}, {worst.way}",
    )


def _mean(values: Sequence[tuple[float | None, int]]) -> float | None:
    """Of values that stand for so many tokens each."""
    total = sum(tokens for _, tokens in values)
    return sum((value or 0.0) * tokens for value, tokens in values) / total if total else None
