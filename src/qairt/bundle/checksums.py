"""`SHA256SUMS`: the digest of every file, in the format of `sha256sum -c`."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import QairtError
from qairt.files import files_below, read_regular, sha256_of

NAME = "SHA256SUMS"


def write_checksums(folder: Path) -> dict[str, str]:
    """Write the digests of all files in the folder; returns them by name."""
    digests = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files_below(folder)}
    (folder / NAME).write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()), encoding="utf-8")
    return digests


def read_checksums(folder: Path) -> dict[str, str]:
    """Digests by name; empty if the folder has no checksums.

    Raises:
        QairtError: a line is malformed.
    """
    path = folder / NAME
    if not path.is_file():
        return {}
    found = {}
    for number, line in enumerate(read_regular(path).decode(errors="replace").splitlines(), 1):
        digest, _, name = line.partition(" ")
        name = name.lstrip(" *")
        if len(digest) != 64 or not name:
            raise QairtError(
                "the line is not a digest and a file name", where=f"{NAME}:{number}", remedy="export the bundle again"
            )
        found[name] = digest.lower()
    return found
