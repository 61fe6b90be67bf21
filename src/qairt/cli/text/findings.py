"""Findings of `qairt check` and `qairt bundle check` as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt.cli.console import emit, styled, wrapped

if TYPE_CHECKING:
    from qairt.errors import Finding

_MARK = " " * 7


def print_finding(finding: Finding) -> None:
    """The mark and the finding, its remedy below."""
    marks = {
        "ok": styled("ok     ", "green"),
        "warning": styled("warning", "yellow"),
        "error": styled("ERROR  ", "red"),
    }
    text = wrapped(f"{_MARK}  {finding.subject}: {finding.text}", indent=11)
    emit(marks[finding.status] + text[len(_MARK) :])
    if finding.remedy:
        emit(wrapped(f"           {finding.remedy}", indent=11))
