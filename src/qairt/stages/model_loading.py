"""Stage 1: find the model, read its header, store its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.stage import (
    Batch,
    Context,
    Env,
    Estimate,
    Expansion,
    KeyFacts,
    OutputContext,
    Stage,
    StageConfig,
    StageInput,
    StageOutput,
    Task,
    register_stage,
)
from qairt.errors import RecipeError
from qairt.stages.adapters import adapter_settings, adapters_of, check_texts, check_values
from qairt.stages.facets import model_facets
from qairt.stages.facts import model_of, sizes_of

if TYPE_CHECKING:
    from qairt.model.config import DecoderConfig

_TOLD = "notices of the tokenizer"
_ADAPTER = "adapter "


class ModelLoadingConfig(StageConfig):
    """`model_loading` has no settings; `model_id_or_path` names the model."""


class LoadedModel(StageOutput):
    model: Path
    """The decoder's configuration, JSON."""
    tokenizer: Path
    """Folder with tokenizer.json, its settings and the chat template."""
    adapters: Path | None = None
    """`LoRAAdapterMetadata` of the recipe's adapters, JSON; None if it has none."""


@register_stage
class ModelLoading(Stage[ModelLoadingConfig, StageInput, LoadedModel]):
    """Describe the model and store its tokenizer. Weights are not copied: later stages read them tensor by tensor.

    Later items depend on the facets of the model that they read: after a corrected end token it is not quantized again.
    Paths, and how files are written, are in no key.
    """

    name = "model_loading"
    worth = "bundle"

    def check(self, env: Env) -> None:
        if model_of(env).config.pooling is not None and adapters_of(env):
            raise RecipeError(
                "LoRA adapters of an embedding model are not supported",
                where="lora",
                remedy="merge them into the model (in peft: model.merge_and_unload()), and remove lora",
            )
        adapters_of(env)
        check_texts(env)

    def check_files(self, env: Env) -> None:
        """Reads the tokenizer and the adapters, which takes a second; a run does it in this stage's item, the first."""
        from qairt.model.tokenizer import Tokenizer
        from qairt.model.tokenizer_check import check_tokenizer

        model = model_of(env)
        env.once(_TOLD, lambda: [*check_tokenizer(Tokenizer.open(model.source), model.config, str(model.source))])
        check_values(env)

    def notices(self, env: Env) -> Sequence[str]:
        return [*model_of(env).notices, *env.facts.get(_TOLD, ())]

    def expand(self, batch: Batch, env: Env) -> Expansion:
        adapters = adapters_of(env)
        task = Task(
            coord=(),
            sources=(),
            paths={"model": model_of(env).source, **{_ADAPTER + name: each.path for name, each in adapters.items()}},
            estimate=Estimate(bytes=4_000_000, seconds=2, peak_ram=300_000_000),
        )
        return Expansion([task])

    def facets(self, env: Env) -> KeyFacts:
        return model_facets(env, self.name)

    def cache_key_extras(self, env: Env) -> KeyFacts:
        return adapter_settings(env, self.name)

    def earlier_key_extras(self, env: Env) -> KeyFacts:
        model = model_of(env)
        files = tuple((path.name, env.digest(self.name, path)) for path in model.files)
        return (("model", files), *((("readings", model.readings),) if model.readings else ()))

    def introspect(self, batch: Batch, env: Env, token: object) -> Mapping[str, object]:
        model = model_of(env)
        return {
            "architecture": model.config.family,
            "layers": model.config.num_layers,
            "parameters": model.parameter_count,
            "source": str(model.source),
            **({"already quantized": str(model.storage)} if model.storage is not None else {}),
        }

    def run(self, task: Task, context: Context[ModelLoadingConfig, StageInput]) -> LoadedModel:
        from qairt.model.describe import describe_model
        from qairt.model.tokenizer import Tokenizer
        from qairt.model.tokenizer_check import check_tokenizer

        source = task.paths["model"]
        description = describe_model(source)
        opened = Tokenizer.open(source)
        for notice in check_tokenizer(opened, description.config, str(source)):
            print(notice)
        model = context.directory / "model.json"
        model.write_text(description.config.model_dump_json(indent=1) + "\n", encoding="utf-8")
        tokenizer = context.directory / "tokenizer"
        tokenizer.mkdir()
        opened.save(tokenizer)
        adapters = _write_adapters(task, description.config, context.directory)
        return LoadedModel(model=model, tokenizer=tokenizer, adapters=adapters)

    def write_visualization(self, items: Batch, context: OutputContext) -> None:
        from qairt.amounts import size
        from qairt.stages.pictures import svg

        sizes = sizes_of(context.env)
        layers = f"{len(sizes.layers)} layers"
        rows = [("embedding", sizes.embedding), (layers, sum(sizes.layers)), ("final norm, lm_head", sizes.head)]
        drawn = svg.bars("Float weights of the model", [(name, float(bytes_), size(bytes_)) for name, bytes_ in rows])
        (context.directory / "model_sizes.svg").write_text(drawn, encoding="utf-8")


def _write_adapters(task: Task, config: DecoderConfig, directory: Path) -> Path | None:
    """Read every value of the adapters, and write what they say about themselves."""
    from qairt.model.lora.adapter import read_adapter
    from qairt.stages.adapter_metadata import write_metadata

    paths = {name.removeprefix(_ADAPTER): path for name, path in task.paths.items() if name.startswith(_ADAPTER)}
    if not paths:
        return None
    adapters = {name: read_adapter(name, path, config) for name, path in paths.items()}
    for adapter in adapters.values():
        adapter.check_values()
    path = directory / "adapters.json"
    write_metadata(path, adapters)
    return path
