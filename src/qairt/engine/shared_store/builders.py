"""Who built a result: the host, its tools and their digests. Entries carry it, and `allow_from` goes by it."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from importlib import metadata

from qairt.machine import this_host
from qairt.version import __version__

_NAMED = re.compile(r"([A-Za-z][\w.-]*) \d")
_OF_THE_PLACE = re.compile(r"\.pyc,|^\.\./|/(?:INSTALLER|REQUESTED|RECORD|direct_url\.json),")
"""Lines of a package's RECORD that differ between two installations of the same package."""


def made_here(packages: Iterable[str], tools: str) -> dict[str, str]:
    """What an entry that is built now says of its builder.

    Args:
        packages: that its numbers come from.
        tools: the toolchain's version: `onnxruntime 1.31.1, onnxruntime-qnn 2.7.0`; empty without one.
    """
    named = dict.fromkeys([*packages, *_NAMED.findall(tools)])
    return {
        "host": this_host(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "qairt": __version__,
        **({"tools": tools} if tools else {}),
        **{name: found for name in named if (found := _installed(name))},
    }


def is_allowed(made_by: Mapping[str, str], hosts: Iterable[str]) -> bool:
    """Whether a result's builder is among these hosts, which may have `*` in them; any is if there are none."""
    hosts = tuple(hosts)
    return not hosts or any(fnmatchcase(made_by.get("host", ""), pattern) for pattern in hosts)


@cache
def _installed(package: str) -> str:
    """`2.13.0 sha256:1a2b…`: a package's version, and the digest of its files' digests; empty without the package."""
    try:
        found = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return ""
    lines = [line for line in (found.read_text("RECORD") or "").splitlines() if not _OF_THE_PLACE.search(line)]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
    return f"{found.version} sha256:{digest}" if lines else found.version
