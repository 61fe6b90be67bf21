"""Settings shared by all tests."""

import atexit
import itertools
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

# Read when torch is imported. On a busy machine, threads that spin while they wait turn seconds into minutes.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
# Children of the process executor import the toy stages by their path.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
sys.path.insert(0, str(Path(__file__).parent / "support"))

from measured_machine import keep_speed

from qairt.machine import available_cores

# No test reads or changes the settings and the memory of whoever runs it; SDKs that tests make are trusted.
_STATE = os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="qairt-test-state-")
_NUMBERS = itertools.count()
atexit.register(shutil.rmtree, _STATE, ignore_errors=True)
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="qairt-test-config-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)
_trusted = Path(os.environ["XDG_CONFIG_HOME"]) / "qairt" / "trusted-sdks"
_trusted.parent.mkdir()
_trusted.write_text(f"{os.path.realpath(tempfile.gettempdir())}\n")
keep_speed(Path(os.environ["XDG_CONFIG_HOME"]))
for _variable in ("QAIRT_SDK_ROOT", "QNN_SDK_ROOT"):
    os.environ.pop(_variable, None)


@pytest.fixture(autouse=True)
def own_memory(monkeypatch):
    """No test sees the runs that another one remembers."""
    monkeypatch.setenv("XDG_STATE_HOME", f"{_STATE}/{next(_NUMBERS)}")


def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: a quarter of the time tests wait, for programs, terminals and timers."""
    return available_cores() + 1
