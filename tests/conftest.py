"""Settings shared by all tests."""

import os
import sys
from pathlib import Path

# Children of the process executor import the toy stages by their path.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(Path(__file__).parent / "support"), *filter(None, [os.environ.get("PYTHONPATH")])]
)
sys.path.insert(0, str(Path(__file__).parent / "support"))
