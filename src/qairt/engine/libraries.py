"""The versions of the packages that numbers come from, and the machine they were computed on."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from qairt.machine import cpu_instructions, cpu_name

if TYPE_CHECKING:
    from qairt.engine.cache.entry import Entry

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

_MACHINE = ("processor", "instructions")


def minor_versions(packages: Iterable[str]) -> dict[str, str]:
    """`{"torch": "2.9"}`: what keys contain of the packages that a stage computes with."""
    return {package: re.sub(r"^(\d+\.\d+).*", r"\1", _version(package)) for package in packages}


def made_with(packages: Collection[str]) -> dict[str, str]:
    """What may change the last bits of a result and is not in its key; empty if no package computes it.

    These are the whole versions of the packages, the processor and its vector instructions, and the environment
    variables that choose others.
    """
    if not packages:
        return {}
    chosen = {name: os.environ[name] for name in CHANGING_NUMBERS if name in os.environ}
    machine = dict(zip(_MACHINE, (cpu_name(), cpu_instructions()), strict=True))
    return {package: _version(package) for package in packages} | machine | chosen


def made_with_by_stage(entries: Iterable[Entry]) -> list[tuple[str, str]]:
    """Stages, and what their entries were made with: `("quantization", "torch 2.9.1, processor EPYC")`.

    A value that is another one here and now is told, although it makes no result invalid.
    """
    found: dict[str, dict[str, None]] = {}
    for entry in entries:
        if entry.made_with:
            stages = found.setdefault(_described(entry.made_with), {})
            stages[entry.stage] = None
    return [(", ".join(stages), text) for text, stages in found.items()]


def _described(made: Mapping[str, str]) -> str:
    here = made_with(made.keys() - {*CHANGING_NUMBERS, *_MACHINE})
    then = [
        f"{name} {value}" + (f" (here {here[name]})" if here.get(name, value) != value else "")
        for name, value in made.items()
    ]
    return ", ".join(then + [f"(here {name} {value})" for name, value in here.items() if name not in made])


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
