"""Read a LoRA adapter, whatever file format it is in."""

from __future__ import annotations

from pathlib import Path

from qairt.errors import ModelError
from qairt.model.config import DecoderConfig
from qairt.model.lora.adapted import Adapter


def read_adapter(name: str, path: Path, config: DecoderConfig) -> Adapter:
    """The adapter at `path` for a decoder. Reads headers only; a matrix is read when it is asked for.

    Args:
        name: as the recipe calls it.
        path: a folder saved by PEFT, or a `.gguf` file that llama.cpp's convert_lora_to_gguf.py wrote.

    Raises:
        ModelError: a file is missing or damaged, the adapter needs what is not supported, or it is of another model.
    """
    try:
        if path.is_dir():
            from qairt.model.lora.peft_adapter import read_peft_adapter

            return read_peft_adapter(name, path, config)
        from qairt.model.lora.gguf_adapter import read_gguf_adapter

        return read_gguf_adapter(name, path, config)
    except OSError as error:
        where = str(error.filename or path)
        raise ModelError(f"cannot be read: {error.strerror}", where=where, remedy="check its permissions") from error
