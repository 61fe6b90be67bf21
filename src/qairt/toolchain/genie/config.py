"""Names and fields of Genie's configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

GENIE_CONFIG = "genie_config.json"
HTP_EXTENSIONS = "htp_backend_ext_config.json"
"""The NPU's settings, which Genie passes to its backend (`qairt.toolchain.qnn.htp_config.backend_settings`)."""
EMBEDDING = "embedding"
"""The block of an embedding model, in place of a dialog."""
NO_TOKEN = -1
"""How Genie writes a token that the model does not have."""


def value_at(content: object, *keys: str) -> object:
    """A value deep in JSON; None where it is missing."""
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def binaries_of(config: Mapping[str, object], folder: Path | None = None) -> list[Path]:
    """The context binaries that a configuration names, in order; none where that part of it is malformed."""
    kind = EMBEDDING if EMBEDDING in config else "dialog"
    found = value_at(config, kind, "engine", "model", "binary", "ctx-bins")
    names = [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
    return [(folder or Path()) / name for name in names]
