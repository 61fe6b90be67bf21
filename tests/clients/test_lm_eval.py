"""The tests that need lm-eval, in an environment that has it."""

from __future__ import annotations

from pathlib import Path

import pytest
from client_environment import ROOT, environment, run_in

pytestmark = pytest.mark.clients


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("lm-eval", "lm-eval==0.4.13", "pytest>=8.3")


def test_scores_are_those_of_lm_evals_own_backend(python, tmp_path):
    tests = sorted((ROOT / "tests" / "evaluate").glob("test_lm_eval*.py"))
    assert tests
    settings = ["-p", "no:cacheprovider", "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-rs"]
    done = run_in(python, "-m", "pytest", *settings, *tests, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SKIPPED" not in done.stdout
