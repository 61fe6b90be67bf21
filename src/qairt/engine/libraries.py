"""The versions of the packages that numbers come from, and the machine they were computed on."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import cache
from importlib import metadata

from qairt.machine import cpu_instructions, cpu_name

CHANGING_NUMBERS = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Environment variables by which libraries choose other instructions, and so other last bits."""


def minor_versions(packages: Iterable[str]) -> dict[str, str]:
    """`{"torch": "2.9"}`: what keys contain of the packages that a stage computes with."""
    return {package: re.sub(r"^(\d+\.\d+).*", r"\1", _version(package)) for package in packages}


def made_with(packages: Iterable[str]) -> dict[str, str]:
    """What may change the last bits of a result and is not in its key.

    These are the whole versions of the packages it is computed with, the processor and its vector instructions, and the
    environment variables that choose others.
    """
    chosen = {name: os.environ[name] for name in CHANGING_NUMBERS if name in os.environ}
    machine = {"processor": cpu_name(), "instructions": cpu_instructions()}
    return {package: _version(package) for package in packages} | machine | chosen


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
