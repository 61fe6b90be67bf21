"""The command line over the toy stages: in this process for speed, in a child where signals and pipes matter."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import toy_stages as toy

import qairt.stages
from qairt.cli.main import main
from qairt.engine import stage as stage_module

RECIPE = """\
backend: CPU
cache_dir: cache
stages:
  source: {text: hello}
  fan: {arn: [1, 2]}
  upper: {}
  join: {}
"""


@dataclass(frozen=True)
class CommandResult:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with `toy.yaml`; the toy stages are known while the test runs."""
    toys = {stage.name: stage for stage in (toy.Source, toy.Fan, toy.Upper, toy.Join)}
    monkeypatch.setattr(stage_module, "_registry", {**stage_module.registered_stages(), **toys})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    (tmp_path / "toy.yaml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def qairt(capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """`qairt("plan", "toy.yaml")`, in this process."""

    def run(*words: str | Path) -> CommandResult:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return CommandResult(code, captured.out, captured.err)

    return run
