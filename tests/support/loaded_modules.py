"""What a Python program imports."""

from __future__ import annotations

import subprocess
import sys


def loaded_by(statements: str) -> set[str]:
    """Modules that a fresh interpreter has loaded after these statements."""
    script = f"import sys\n{statements}\nprint(*sys.modules, file=sys.stderr)"
    child = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(child.stderr.splitlines()[-1].split())
