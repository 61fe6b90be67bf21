"""What a machine says of itself: what it can hold, and the versions that have to be the same everywhere."""

from __future__ import annotations

import platform
from importlib import metadata

from pydantic import BaseModel

from qairt.machine import available_cores, available_memory, this_host
from qairt.version import __version__

_SAME = ("distributed", "numpy", "onnx", "onnxruntime", "onnxruntime-qnn", "torch")
"""Packages whose versions change results, or what machines say to each other."""


class About(BaseModel):
    """A machine."""

    host: str
    memory: int
    """Free bytes of RAM, or the limit that is set for it."""
    cores: int
    versions: dict[str, str]

    def differs_from(self, other: About) -> str:
        """The versions that differ: `torch 2.12.0 instead of 2.13.0`; empty if none does."""
        return ", ".join(
            f"{name} {self.versions.get(name, 'missing')} instead of {version}"
            for name, version in other.versions.items()
            if self.versions.get(name) != version
        )


def about_this_machine() -> About:
    """This machine, as far as its processes may use it."""
    versions = {"qairt": __version__, "Python": ".".join(platform.python_version_tuple()[:2])}
    for package in _SAME:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "missing"
    return About(host=this_host(), memory=available_memory(), cores=available_cores(), versions=versions)
