"""Find a model by path, or by its id on the Hugging Face hub."""

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
        "no such model", where=str(path), remedy="use a model directory, a .gguf file or an id `owner/name`"
    )


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ModelError(
            "no such path, and Hugging Face ids need the package huggingface-hub",
            where=name,
            remedy="pip install 'qairt[hub]', or download the model and use its directory",
        ) from None

    repo, _, revision = name.partition("@")
    wanted = {"repo_id": repo, "revision": revision or None, "allow_patterns": _FILES}
    try:
        cached = Path(snapshot_download(**wanted, local_files_only=True))
    except Exception:  # not in the cache; the hub raises one of several types
        cached = None
    if cached is not None and _complete(cached):
        return cached
    try:
        fetched = Path(snapshot_download(**wanted, etag_timeout=_SECONDS))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise _not_on_hub(name, reason) from error
    if not _complete(fetched):  # offline, the hub's client returns whatever its cache has
        raise _not_on_hub(name, f"no config.json with .safetensors in {fetched}")
    return fetched


def _not_on_hub(name: str, reason: str) -> ModelError:
    return ModelError(
        f"no such path, and not available from the Hugging Face hub: {reason}",
        where=name,
        remedy="check the spelling and the network (a gated model needs `hf auth login`), "
        "or download it elsewhere and use its directory",
    )


def _complete(directory: Path) -> bool:
    """The hub's cache may hold only some files, such as the configuration that another program fetched."""
    from qairt.model.weight_files import weight_files

    try:
        return (directory / "config.json").is_file() and bool(weight_files(directory))
    except ModelError:
        return False
