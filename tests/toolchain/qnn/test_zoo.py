"""The compiler's treatment of known forms: this fails when a new version of it changes one, for better or worse."""

from __future__ import annotations

from pathlib import Path

import pytest
from zoo import FORMS, Known

from qairt.errors import ToolchainError
from qairt.runtime.emulation import emulate_twice
from qairt.toolchain.qnn import wheel
from qairt.toolchain.soc import SOCS

pytest.importorskip("onnxruntime_qnn")
pytestmark = pytest.mark.compiler

SAMPLE = [(name, rows) for name, known in FORMS.items() if known.is_sample for rows in known.rows[-1:]]
REST = [(name, rows) for name, known in FORMS.items() for rows in known.rows if (name, rows) not in SAMPLE]


def fate(known: Known, rows: int, folder: Path) -> tuple[str, str]:
    """What the compiler makes of a form, as in `Known.expected`, and the numbers."""
    form = known.make(rows)
    try:
        found = emulate_twice(form.part(folder, rows), form.inputs, soc=SOCS["SM8650"])
    except ToolchainError as error:
        return ("refused" if "the emulator rejects this graph" in error.what else "failed"), error.what
    db = min(found.db.values())
    numbers = f"{dict(found.db)}, {list(found.unsteady)} differ from run to run"
    if found.unsteady or db < 30:
        return "wrong", numbers
    if db >= 50:
        return "right", numbers
    return "coarse" if db >= 35 else "between coarse and wrong", numbers


def require_known(name: str, rows: int, folder: Path) -> None:
    found, numbers = fate(FORMS[name], rows, folder)
    told = f"{wheel.version()}: {name}, {rows} rows: {numbers}"
    print(told)
    assert found == FORMS[name].expected, told


@pytest.mark.parametrize(("name", "rows"), SAMPLE)
def test_a_sample_of_forms(tmp_path: Path, name: str, rows: int) -> None:
    require_known(name, rows, tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize(("name", "rows"), REST)
def test_all_other_forms(tmp_path: Path, name: str, rows: int) -> None:
    require_known(name, rows, tmp_path)
