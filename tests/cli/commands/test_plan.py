"""`qairt plan`: counts, costs and reasons, before anything runs."""

from __future__ import annotations

import re

INLINE = ("--executor", "inline")


def test_before_the_first_run_everything_is_estimated(qairt, place):
    said = qairt("plan", "toy.yaml", "--jobs", "2")
    assert said.code == 0
    assert said.out == (
        "stage   to run  on disk    time      RAM  output\n"
        "source     1/1     ~5 B  ~0.1 s    ~1 kB  1 text\n"
        "fan        2/2     ~0 B  ~0.2 s    ~1 kB  2 text\n"
        "upper      1/1     ~0 B  ~0.1 s  ~400 MB  1 text\n"
        "join       1/1     ~0 B  ~1.0 s  ~400 MB  1 joined\n"
        "total      5/5     ~5 B  ~1.4 s  ~400 MB\n"
        "\n"
        "5 items to run, about 1.3 s (0.7–3.1), estimated, at most 2 at a time:\n"
        "  stage   item    time  why it runs\n"
        "  source  all   ~0.1 s  not built yet\n"
        "  fan     ar1   ~0.1 s  not built yet\n"
        "  fan     ar2   ~0.1 s  not built yet\n"
        "  upper   ar2   ~0.1 s  not built yet\n"
        "  join    all   ~1.0 s  not built yet\n"
    )
    assert not (place / "cache").exists(), "a plan leaves nothing behind"


def test_after_a_run_costs_are_those_of_the_run_and_reasons_name_the_leaf(qairt):
    qairt("run", "toy.yaml", *INLINE)
    said = qairt("plan", "toy.yaml", "stages.fan.suffix=x")
    assert re.sub(r"~\d\.\d s", "T", said.out).splitlines()[8:] == [
        "  stage  item    time  why it runs",
        "  fan    ar1   T  stages.fan.suffix  → x",
        "  fan    ar2   T  stages.fan.suffix  → x",
        "  upper  ar2   T  fan ar2 changed: stages.fan.suffix  → x",
        "  join   all   T  fan ar1 changed: stages.fan.suffix  → x",
    ]


def test_everything_cached(qairt):
    qairt("run", "toy.yaml", *INLINE)
    said = qairt("plan", "toy.yaml")
    assert said.out.endswith("\nNothing to run: 5 items, all cached.\n")
    assert "source     0/1     29 B             1 text\n" in said.out


def test_until_force_and_brief(qairt):
    qairt("run", "toy.yaml", *INLINE)
    said = qairt("plan", "toy.yaml", "--until", "fan", "--force", "fan", "--brief")
    assert [line.split()[0] for line in said.out.splitlines() if line] == ["stage", "source", "fan", "total", "2"]
    assert "requested with --force" in qairt("plan", "toy.yaml", "--force", "fan").out


def test_json_is_the_plan_as_data(qairt):
    data = qairt("plan", "toy.yaml", "--json").data
    assert [stage["name"] for stage in data["stages"]] == ["source", "fan", "upper", "join"]
    assert data["stages"][1]["artifacts"] == {"text": 2}
    assert (data["items"], data["to_run"], data["notices"]) == (5, 5, [])
    (upper,) = data["stages"][2]["items"]
    assert (upper["label"], upper["status"], upper["reason"]) == ("ar2", "run", "not built yet")


def test_on_a_narrow_terminal_reasons_are_wrapped_below_themselves(monkeypatch):
    monkeypatch.setattr("qairt.cli.console.is_terminal", lambda stream=None: True)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    from qairt.cli.console import table

    lines = table([("fan", "3", "a reason that is long"), ("join", "1", "")], header=("stage", "n", "why"), right=(1,))
    assert lines == ["stage  n  why", "fan    3  a reason that is", "          long", "join   1"]
