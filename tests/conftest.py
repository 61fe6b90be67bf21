"""Settings shared by all tests."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

# Children of the process executor import the toy stages by their path.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
sys.path.insert(0, str(Path(__file__).parent / "support"))

from measured_machine import keep_speed

# No test reads the settings of whoever runs it; SDKs that tests make are trusted.
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="qairt-test-config-")
atexit.register(shutil.rmtree, os.environ["XDG_CONFIG_HOME"], ignore_errors=True)
_trusted = Path(os.environ["XDG_CONFIG_HOME"]) / "qairt" / "trusted-sdks"
_trusted.parent.mkdir()
_trusted.write_text(f"{os.path.realpath(tempfile.gettempdir())}\n")
keep_speed(Path(os.environ["XDG_CONFIG_HOME"]))
for _variable in ("QAIRT_SDK_ROOT", "QNN_SDK_ROOT"):
    os.environ.pop(_variable, None)
