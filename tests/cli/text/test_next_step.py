"""The one next command, told to a person."""

from __future__ import annotations

import shlex

import pytest

from qairt.cli.text import next_step


@pytest.fixture
def person(monkeypatch):
    """Standard output is a terminal for this sentence alone."""
    monkeypatch.setattr(next_step, "is_terminal", lambda: True)


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def test_check_and_plan_lead_to_the_run_and_the_run_to_its_report(qairt, person):
    words = ["toy.yaml", "stages.source.text=two words"]
    quoted = shlex.join(words)
    assert last_line(qairt("check", *words).out) == f"Next: qairt run {quoted}"
    assert last_line(qairt("plan", *words).out) == f"Next: qairt run {quoted}"
    assert last_line(qairt("run", *words, "--executor", "inline").out) == f"Next: qairt report {quoted}"
    assert last_line(qairt("plan", *words).out) == f"Next: qairt report {quoted}"
    assert last_line(qairt("plan", *words, "--cache-dir", "a b").out) == f"Next: qairt run {quoted} --cache-dir 'a b'"


def test_errors_come_first(qairt, person, place):
    (place / "cache").write_text("in the way")
    said = qairt("check", "toy.yaml")
    assert said.code != 0
    assert last_line(said.out) == "Next: qairt check toy.yaml, once the errors above are mended"


def test_a_script_reads_only_the_result(qairt):
    assert "Next:" not in qairt("plan", "toy.yaml").out
