"""The report's words about a runtime that tells tokens only."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sample_report import full_report

from qairt.report.render import to_html, to_markdown
from qairt.verify.result import TokenFidelity

PROMPT = (1, 2, 3)


def spoken(*found: int, margin: float | None) -> TokenFidelity:
    return TokenFidelity(
        rung="genie", prompt=PROMPT, cpu=(5, 6, 7), found=found, margin=margin, seconds=90.0, seconds_a_token=11.6
    )


@pytest.mark.parametrize(
    ("found", "is_fault", "says"),
    [
        (spoken(5, 6, 7, margin=None), False, "the same 3 tokens as the CPU on the same parts"),
        (spoken(5, 9, 7, margin=0.03), False, "another from the 2. of 3 on, which the CPU finds less likely by 0.03"),
        (spoken(5, 9, 7, margin=4.0), True, "another from the 2. of 3 on, which the CPU finds less likely by 4.00"),
    ],
)
def test_a_tie_is_told_from_a_fault(found: TokenFidelity, is_fault: bool, says: str):
    report = full_report()
    assert report.fidelity is not None
    fidelity = replace(
        report.fidelity, first_below=None, runtimes=(found,), first_differing=found if is_fault else None
    )
    report = replace(report, fidelity=fidelity)
    page, text = to_html(report), to_markdown(report)
    assert says in page
    assert "11.6 s a token" in page
    assert "11.6 s a token" in text
    assert ("genie says other tokens than the CPU" in page) is is_fault
    assert ("**more than a tie**" in text) is is_fault
