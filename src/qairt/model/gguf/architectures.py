"""llama.cpp's names of the supported architectures."""

from __future__ import annotations

from qairt.model.families import FAMILIES
from qairt.model.families.family import Family, Gguf

ARCHITECTURES: dict[str, tuple[Family, Gguf]] = {
    gguf.architecture: (family, gguf)
    for family in FAMILIES.values()
    for gguf in (family.gguf, family.embedding.gguf if family.embedding is not None else None)
    if gguf is not None
}
"""`general.architecture` -> the family, and what its files are like; llama.cpp calls Mistral's models llama too."""
