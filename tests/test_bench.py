"""The benchmarks are run by hand, so that nothing else would notice a name that has moved."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

BENCHMARKS = sorted((Path(__file__).parent / "bench").glob("*.py"))


@pytest.mark.parametrize("path", BENCHMARKS, ids=lambda path: path.stem)
def test_every_name_of_the_package_that_a_benchmark_imports_exists(path: Path) -> None:
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("qairt"):
            module = import_module(str(statement.module))
            for name in (alias.name for alias in statement.names):
                assert hasattr(module, name) or find_spec(f"{statement.module}.{name}"), f"{statement.module}.{name}"
