"""The versions of the tools and packages that a run uses."""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qairt.engine.plan.planned import Plan

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def tools_of(plan: Plan) -> dict[str, object]:
    """The content of `tools.json`: Python, the system, the toolchains of the items, packages."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "toolchains": sorted({item.tools for item in plan.items if item.tools}),
        "packages": packages(),
    }


@cache
def packages() -> dict[str, str]:
    """Versions of qairt and its installed dependencies, by name."""
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
