"""The parts of a model that work can depend on one by one, each by its parsed, canonical content.

How a file is written (white space, the order of keys, the names of shards) and what nothing reads is in none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.files import open_regular, read_json, sha256_of
from qairt.model.gguf.file import GgufArray, GgufHeader, read_gguf_header

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from qairt.model.config import DecoderConfig

GENERATION = frozenset({"bos_token_id", "eos_token_ids"})
"""Fields of `DecoderConfig` that only say where a text begins and ends; all others shape the graph."""
_GGUF_TEMPLATE = frozenset({"tokenizer.chat_template"})
_GGUF_ENDS = frozenset(f"tokenizer.ggml.{end}_token_id" for end in ("eos", "eot", "eom"))
_PIECE = 1 << 20


def graph_digest(config: DecoderConfig) -> str:
    """Digest of everything that shapes the decoder's graph."""
    return keys.digest(config.model_dump(mode="json", exclude=set(GENERATION)))


def generation_digest(config: DecoderConfig, more: JsonValue = None) -> str:
    """Digest of where texts begin and end.

    Args:
        more: what the format states beyond the configuration.
    """
    return keys.digest([config.model_dump(mode="json", include=set(GENERATION)), more])


def json_digest(path: Path) -> str:
    """Digest of the content of a JSON file, without a chat template in it; of its bytes if it is no JSON."""
    try:
        content = read_json(path)
        if isinstance(content, dict):
            content.pop("chat_template", None)
        return keys.digest(content)
    except ValueError:
        return sha256_of(path)


def shards_of_tensors(index: Path, digests: Mapping[Path, str]) -> dict[str, JsonValue]:
    """The digest of the file that a shard index names for each tensor.

    Args:
        digests: of the shards, by path.
    """
    shards: dict[str, str] = read_json(index)["weight_map"]
    return {tensor: digests.get(index.parent / shard) for tensor, shard in shards.items()}


def gguf_weights_digest(path: Path) -> str:
    """Digest of a GGUF file's tensors: names, shapes, storage types, places, and every byte."""
    tensors = read_gguf_header(path).tensors.values()
    start = min((tensor.offset for tensor in tensors), default=0)
    table = [[tensor.name, list(tensor.shape), tensor.type_id, tensor.offset - start] for tensor in tensors]
    found = hashlib.sha256(keys.canonical(sorted(table)).encode())
    with open_regular(path) as file:
        file.seek(start)
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def gguf_tokenizer_digest(path: Path) -> str:
    """Digest of a GGUF file's tokenizer, without its chat template and the tokens that end a text."""
    others = _GGUF_TEMPLATE | _GGUF_ENDS
    return _fields_digest(path, lambda name: name.startswith("tokenizer.") and name not in others)


def gguf_ends_digest(path: Path) -> str:
    """Digest of the tokens that end a text, as a GGUF file names them."""
    return _fields_digest(path, _GGUF_ENDS.__contains__)


def gguf_template_digest(path: Path) -> str:
    """Digest of a GGUF file's chat template."""
    return _fields_digest(path, _GGUF_TEMPLATE.__contains__)


def _fields_digest(path: Path, wanted: Callable[[str], bool]) -> str:
    header = read_gguf_header(path)
    return keys.digest({name: _field(header, name) for name in header.fields if wanted(name)})


def _field(header: GgufHeader, name: str) -> object:
    value = header.fields[name]
    if not isinstance(value, GgufArray):
        return value
    return header.strings(name) if value.holds_strings else header.numbers(name)
