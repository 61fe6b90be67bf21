"""The facets of the recipe's model: what later items depend on one by one.

A corrected end token changes `GENERATION`, so only what reads it runs again. See `qairt.model.facets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.stage import Content, Env, KeyFacts
from qairt.model import facets
from qairt.stages.facts import model_of

if TYPE_CHECKING:
    from qairt.model.describe import ModelDescription

WEIGHTS = "weights of the model"
GRAPH = "shape of the model's graph"
TOKENIZER = "tokenizer of the model"
CHAT_TEMPLATE = "chat template of the model"
GENERATION = "start and end tokens of the model"

_JSON = Content("JSON without a chat template", facets.json_digest)
_GGUF_WEIGHTS = Content("GGUF tensors", facets.gguf_weights_digest)
_GGUF_TOKENIZER = Content("GGUF tokenizer", facets.gguf_tokenizer_digest)
_GGUF_TEMPLATE = Content("GGUF chat template", facets.gguf_template_digest)
_GGUF_ENDS = Content("GGUF end tokens", facets.gguf_ends_digest)


def model_facets(env: Env, stage: str) -> KeyFacts:
    """The digest of each facet of the recipe's model, found out once, for the stage that asks first."""

    def find() -> KeyFacts:
        model = model_of(env)
        found = _of_gguf(env, stage, model) if model.format == "gguf" else _of_directory(env, stage, model)
        return ((GRAPH, facets.graph_digest(model.config)), *found)

    return env.once("facets of the model", find)


def _of_gguf(env: Env, stage: str, model: ModelDescription) -> KeyFacts:
    def digest(content: Content) -> str:
        return env.digest(stage, model.source, content)

    return (
        (WEIGHTS, digest(_GGUF_WEIGHTS)),
        (TOKENIZER, digest(_GGUF_TOKENIZER)),
        (CHAT_TEMPLATE, digest(_GGUF_TEMPLATE)),
        (GENERATION, facets.generation_digest(model.config, digest(_GGUF_ENDS))),
    )


def _of_directory(env: Env, stage: str, model: ModelDescription) -> KeyFacts:
    from qairt.model.tokenizer import chat_template_in
    from qairt.model.tokenizer_files import read_tokenizer_files

    weights = [path for path in model.files if path.suffix == ".safetensors"]
    shards = {path: env.digest(stage, path) for path in weights}
    index = next((path for path in model.files if path.name.endswith(".safetensors.index.json")), None)
    files = read_tokenizer_files(model.source) if (model.source / "tokenizer.json").is_file() else None
    read = {"tokenizer.json", *files.used} if files is not None else set()
    template = chat_template_in(model.source, files.settings.get("chat_template") if files is not None else None)
    tokenizer = {path.name: env.digest(stage, path, _JSON) for path in model.files if path.name in read}
    for path in model.files:
        if path not in weights and path.name not in tokenizer:
            env.digest(stage, path)  # so that it is checked again after the run
    by_tensor = facets.shards_of_tensors(index, shards) if index is not None and len(shards) > 1 else {}
    return (
        (WEIGHTS, keys.digest([[*shards.values()], by_tensor, *([model.storage.stated] if model.storage else [])])),
        (TOKENIZER, keys.digest(tokenizer)),
        (CHAT_TEMPLATE, keys.digest(template)),
        (GENERATION, facets.generation_digest(model.config)),
    )
