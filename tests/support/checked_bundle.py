"""Findings of `check_bundle`, and altered bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from qairt.bundle.check.bundle import check_bundle

BINARY = "weight_sharing_model_{}_of_3.serialized.bin"


def faults(folder: Path, *statuses: str) -> list[tuple[str, str]]:
    """What is wrong: subject and text."""
    wanted = statuses or ("error",)
    found = [finding for finding in check_bundle(folder) if finding.status in wanted]
    assert all(finding.remedy for finding in found)
    return [(finding.subject, finding.text) for finding in found]


def said(folder: Path) -> dict[str, str]:
    return {finding.subject: finding.text for finding in check_bundle(folder) if finding.status == "ok"}


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content))


def change(path: Path, place: tuple[str, ...], value: Any) -> None:
    """Set a value deep in a JSON or YAML file."""
    content = yaml.safe_load(path.read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    path.write_text(json.dumps(content) if path.suffix == ".json" else yaml.safe_dump(content))
