"""The verdict on the whole quantized model: each part may be near the float model and the chain far from it."""

from __future__ import annotations

import pytest

from qairt.cli.text.verification import verification_lines
from qairt.verify.result import MIN_TOKENS, CheckpointFidelity, OutputFidelity, RungFidelity, Verification

NEEDED = {"split_model": 100.0, "quantize": 6.0, "htp_emulator": 6.0}


def found(top1: float, kl: float, *, bits: int | None = 4, tokens: int = 256, **asked: float) -> Verification:
    """One part of 20 dB whose chained logits agree that far, over two ARs."""

    def output(way: str, count: int) -> OutputFidelity:
        return OutputFidelity(
            part=1, ar=8, way=way, output="logits", tokens=count, sqnr_db=20, max_error=1, top1=top1, kl=kl
        )

    outputs = (output("isolated", 8), output("chained", tokens - 16), output("chained", 16))
    rung = RungFidelity(rung="quantize", tokens=tokens, seconds=1, outputs=outputs, weight_bits=bits)
    return Verification(rungs=(rung,), skipped=(), min_sqnr_db=NEEDED, **asked)


@pytest.mark.parametrize(
    ("whole", "passes"),
    [
        (found(0.28, 1.4), False),
        (found(0.28, 1.4, tokens=MIN_TOKENS - 1), True),
        (found(0.28, 0.01), False),
        (found(0.9, 1.4), False),
        (found(0.5, 0.8), True),
        (found(0.5, 0.8, bits=8), False),
        (found(0.8, 0.25, bits=8), True),
        (found(0.5, 0.8, bits=None), True),
        (found(0.5, 0.8, min_top1=0.51), False),
        (found(0.28, 1.4, min_top1=0.2, max_kl=2), True),
    ],
)
def test_the_whole_is_judged_by_the_bits_of_its_weights(whole: Verification, passes: bool) -> None:
    assert whole.first_below() is None
    assert whole.passes is passes
    assert (whole.first_far() is None) is passes
    assert verification_lines(whole)[-1].startswith("warn: " if not passes else "all parts are above")


def test_the_verdict_says_what_was_found_and_asked() -> None:
    assert verification_lines(found(0.28, 1.4))[-1] == (
        "warn: each part is above its threshold, but quantize as a whole is out of bounds: top-1 agreement 28.0% (at"
        " least 50%), KL 1.4 (at most 0.8) (1.0 s)"
    )


@pytest.mark.parametrize(("db", "misread"), [(118.0, False), (12.0, True)])
def test_a_checkpoint_that_is_read_wrongly_fails(db: float, misread: bool) -> None:
    checkpoint = CheckpointFidelity(reader="transformers 5", tokens=64, sqnr_db=db, top1=1.0)
    whole = found(0.9, 0.1).model_copy(update={"checkpoint": checkpoint, "min_sqnr_db": NEEDED | {"export": 60.0}})
    assert whole.is_misread is misread
    assert whole.passes is not misread
    *_, line, _, verdict = verification_lines(whole)
    assert line == f"checkpoint: the float model against transformers 5: {db} dB over 64 tokens, top-1 agreement 100.0%"
    wrong = "the checkpoint is read wrongly: transformers 5 reads another model from the same files (12.0 dB, at least"
    assert verdict.startswith(wrong if misread else "all parts are above")


@pytest.mark.parametrize(
    ("cpu_db", "asked", "passes"), [(7.7, {}, False), (20.0, {}, True), (25.0, {"min_cpu_db": 26.0}, False)]
)
def test_a_compiled_part_is_judged_against_the_cpu_too(cpu_db: float, asked: dict[str, float], passes: bool) -> None:
    """A miscompiled part may be as far from the float model as 4-bit weights are."""
    outputs = tuple(
        OutputFidelity(part=2, ar=32, way="isolated", output=name, tokens=32, sqnr_db=db, max_error=1, cpu_db=cpu)
        for name, db, cpu in (("logits", 8.0, cpu_db), ("past_key_0_out", 7.0, 50.0))
    )
    rung = RungFidelity(rung="htp_emulator", tokens=32, seconds=1, outputs=outputs)
    whole = Verification(rungs=(rung,), skipped=(), min_sqnr_db=NEEDED, **asked)
    assert whole.passes is passes
    least = asked.get("min_cpu_db", 20)
    assert verification_lines(whole)[-1] == (
        "all parts are above their thresholds (1.0 s)"
        if passes
        else "first below its threshold: htp_emulator, part 2: logits against the CPU, AR 32, isolated has"
        f" {cpu_db} dB, the threshold is {least:.0f} dB (1.0 s)"
    )
