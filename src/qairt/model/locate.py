"""Find a model: a path, or an id on the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

from qairt.errors import ModelError

_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*(@[\w./-]+)?")
_FILES = ["*.json", "*.safetensors", "*.jinja"]
_SECONDS = 10


def locate_model(path_or_id: str | Path) -> Path:
    """The path of a model directory or .gguf file; an id (`owner/name`, `owner/name@revision`) is downloaded first.

    Raises:
        ModelError: there is no such path, or the hub cannot be reached.
    """
    path = Path(path_or_id).expanduser()
    if path.exists():
        return path.absolute()
    if isinstance(path_or_id, str) and _ID.fullmatch(path_or_id) and path.suffix != ".gguf":
        return _download(path_or_id)
    raise ModelError(
        "no such model", where=str(path), remedy="give a model directory, a .gguf file or an id `owner/name`"
    )


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(
            "no such path, and reading a Hugging Face id needs the package huggingface-hub",
            where=name,
            remedy="pip install 'qairt[hub]', or download the model and give its directory",
        ) from None

    repo, _, revision = name.partition("@")
    wanted = {"repo_id": repo, "revision": revision or None, "allow_patterns": _FILES}
    try:
        return Path(snapshot_download(**wanted, local_files_only=True))
    except Exception:  # not in its cache (the hub raises one of several kinds): fetch it
        pass
    try:
        return Path(snapshot_download(**wanted, etag_timeout=_SECONDS))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"no such path, and the Hugging Face hub does not give it: {reason}",
            where=name,
            remedy="check the spelling and the network (a gated model needs `hf auth login`), "
            "or download it elsewhere and give its directory",
        ) from error
