"""The sentences of a specification that is not kept here, as digests: which of them have a test, and which do not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_NOT_PROSE = re.compile(
    r"^(\W*|Copy to clipboard|Returns|Raises|Parameters|Constraints|Validators|Example|Last Published.*|.*\bTopic\b.*)$"
)


def sentences(text: str) -> list[str]:
    """The statements of a page: prose by sentence, entries of lists and signatures by line; no code."""
    found: list[str] = []
    block: list[str] = []
    fenced = False
    for line in [*text.splitlines(), ""]:
        stripped = line.strip().lstrip("-").strip()
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if fenced or line.startswith(("#", ">>>", "    ...")):
            continue
        if _NOT_PROSE.match(stripped) or line.lstrip().startswith("-"):
            found += _split(" ".join(block))
            block = []
        if not _NOT_PROSE.match(stripped):
            block.append(stripped)
    return [sentence for sentence in found if len(sentence.split()) > 1]


def digest(sentence: str) -> str:
    """Eight digits that stand for a sentence."""
    return hashlib.sha256(" ".join(sentence.split()).encode()).hexdigest()[:8]


def _split(block: str) -> list[str]:
    block = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", block)
    return [part.strip() for part in re.split(r"(?<=[.])\s+(?=[A-Z`*])", block) if part.strip()]


def read(page: Path) -> list[str]:
    return sentences(page.read_text(encoding="utf-8"))
