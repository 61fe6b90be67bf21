"""With what a run was made: versions of every tool and package."""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qairt.engine.plan.planned import Plan

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def tools_of(plan: Plan) -> dict[str, Any]:
    """As `tools.json` keeps them: Python, the system, the toolchains that items are made with, packages."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "toolchains": sorted({item.tools for item in plan.items if item.tools}),
        "packages": packages(),
    }


@cache
def packages() -> dict[str, str]:
    """qairt and what it needs, as far as that is installed: version by name."""
    found: dict[str, str] = {}
    for name in ("qairt", *_needed()):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _needed() -> list[str]:
    try:
        required = metadata.requires("qairt") or []
    except metadata.PackageNotFoundError:
        return []
    names = (_NAME.match(line) for line in required if "extra ==" not in line)
    return sorted({name[0] for name in names if name})
