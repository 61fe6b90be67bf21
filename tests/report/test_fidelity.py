"""The report on a runtime that returns tokens only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_report import full_report

from qairt.report.render import to_html, to_markdown
from qairt.verify.result import TokenFidelity, VectorFidelity

PROMPT = (1, 2, 3)


def generated(*found: int, margin: float | None) -> TokenFidelity:
    return TokenFidelity(
        rung="genie", prompt=PROMPT, cpu=(5, 6, 7), found=found, margin=margin, seconds=90.0, seconds_a_token=11.6
    )


@pytest.mark.parametrize(
    ("found", "is_fault", "says"),
    [
        (generated(5, 6, 7, margin=None), False, "the same 3 tokens as the CPU on the same parts"),
        (
            generated(5, 9, 7, margin=0.03),
            False,
            "token 2 of 3 is the first that differs; the CPU's logit for it is 0.03 below",
        ),
        (
            generated(5, 9, 7, margin=4.0),
            True,
            "token 2 of 3 is the first that differs; the CPU's logit for it is 4.00 below",
        ),
    ],
)
def test_a_tie_and_a_fault_are_distinguished(found: TokenFidelity, is_fault: bool, says: str):
    report = full_report()
    assert report.fidelity is not None
    fidelity = replace(
        report.fidelity, first_below=None, runtimes=(found,), first_differing=found if is_fault else None
    )
    report = replace(report, fidelity=fidelity)
    page, text = to_html(report, Path("/cache")), to_markdown(report)
    assert says in page
    assert "11.6 s per token" in page
    assert "11.6 s per token" in text
    assert ("genie generates other tokens than the CPU" in page) is is_fault
    assert ("**more than a tie**" in text) is is_fault


@pytest.mark.parametrize("is_fault", [False, True])
def test_vectors_that_are_astray_are_a_fault(is_fault: bool):
    report = full_report()
    assert report.fidelity is not None
    found = VectorFidelity(
        rung="genie", tokens=(16, 8), values=64, sqnr_db=(38.97, 29.73), cosine=(0.99994, 0.99947), seconds=14.5
    )
    fidelity = replace(
        report.fidelity, first_below=None, vectors=(found,), first_astray=found if is_fault else None, runtimes=()
    )
    report = replace(report, fidelity=fidelity)
    page, text = to_html(report, Path("/cache")), to_markdown(report)
    assert "Its vectors of texts of 16 and 8 tokens have at least" in page
    assert f'<span class="{"bad" if is_fault else "ok"}">29.7 dB</span>' in page
    assert "`genie`: vectors of 16 and 8 tokens, at least 29.7 dB against those of the CPU on the same parts" in text
    assert ("genie makes other vectors than the CPU" in page) is is_fault
    assert ("cosine 0.99947: **low**" in text) is is_fault
