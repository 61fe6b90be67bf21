"""What a pipeline has finished: planned once, then asked for the outputs of its stages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from qairt.engine.plan.cause import NEW
from qairt.engine.plan.demand import is_let_go
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.rebuilding import rebuild
from qairt.engine.stage import StageOutput
from qairt.errors import CacheError, ModelError, RecipeError
from qairt.files import read_regular
from qairt.recipe.files import default_cache_dir
from qairt.stages.facts import model_of, settings_of
from qairt.stages.model_loading import LoadedModel
from qairt.stages.prepare_exports import is_embedding, prepare_config
from qairt.stages.quantize import QuantizedPart

if TYPE_CHECKING:
    from qairt.engine.pipeline import Pipeline
    from qairt.model.config import DecoderConfig
    from qairt.model.tokenizer import Tokenizer
    from qairt.runtime.parts import PartGraph

OutputT = TypeVar("OutputT", bound=StageOutput)


class FinishedRun:
    """The plan of a pipeline and the outputs that are in its cache.

    Settings and items that change after it was created are not seen.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        """
        Raises:
            QairtError: the settings cannot work.
        """
        self._pipeline = pipeline
        self._asked: set[str] = set()
        """Names of items that were rebuilt for this object: what else is rebuilt must not let go of them."""
        self.recipe = pipeline.recipe
        self._failed = pipeline.failed if pipeline.result is not None else []
        self.cache = pipeline.cache
        self.state_folder = pipeline.state_folder
        self.env, self.plan = pipeline.plan_finished()
        self.settings = settings_of(self.env)

    @property
    def recipe_name(self) -> str:
        """The name of the recipe's file, without its ending."""
        return self.recipe.source.stem if self.recipe.source else "recipe"

    @cached_property
    def recipe_arguments(self) -> str:
        """The recipe, its overrides and the cache directory if it is not the recipe's own, as arguments of a command,
        for remedies."""
        own = Path(self.settings.cache_dir or default_cache_dir(self.recipe.source)).absolute()
        elsewhere = [] if own == self._pipeline.cache_dir else ["--cache-dir", str(self._pipeline.cache_dir)]
        return shlex.join([str(self.recipe.source or "RECIPE"), *self.recipe.overrides, *elsewhere])

    @property
    def is_embedding(self) -> bool:
        """The model makes one vector of a text."""
        return is_embedding(self.env)

    def require_generating(self) -> None:
        """
        Raises:
            ModelError: the model makes vectors, and generates no text.
        """
        if self.is_embedding:
            raise ModelError(
                "this is an embedding model: it makes a vector of a text, and generates none",
                where=str(model_of(self.env).source),
                remedy=f"qairt embed {self.recipe_arguments} TEXT …",
            )

    # Outputs of stages

    def items(self, stage: str) -> list[PlannedItem]:
        """A stage's items, whole: those whose files were let go are rebuilt.

        Raises:
            RecipeError: the recipe has no such stage.
            CacheError: an item is not built yet; names it.
        """
        planned = next((planned for planned in self.plan.stages if planned.stage.name == stage), None)
        if planned is None:
            raise RecipeError(
                f"the recipe has no stage {stage}",
                where=self.recipe.where("stages"),
                remedy=f"add {stage} to its stages",
            )
        self.make_whole(planned.items)
        missing = [item for item in planned.items if not item.cached]
        if missing:
            several = f"{len(missing)} of {len(planned.items)} items of {stage} are"
            why = "" if missing[0].reason == NEW else f": {missing[0].reason}"
            failure = next(iter(self._failed), None)
            if failure is not None:
                why = f", because {failure.where} failed: {failure.what}"
            raise CacheError(
                f"{several if len(planned.items) > 1 else 'it is'} not built yet{why}",
                where=missing[0].name,
                remedy=failure.remedy if failure and failure.remedy else f"qairt run {self.recipe_arguments}",
            ) from failure
        return planned.items

    def make_whole(self, items: Sequence[PlannedItem]) -> None:
        """Rebuild those of some items whose files were let go, or that nothing needed so far; other missing items stay
        missing.

        Raises:
            QairtError: one of them could not be rebuilt.
        """
        lacking = [item for item in items if item.entry is None or not item.entry.is_whole]
        let_go = [item for item in lacking if item.entry is not None or is_let_go(self.plan, item.stage)]
        begun = any(item.entry is not None for item in self.plan.items if not is_let_go(self.plan, item.stage))
        if not let_go or not begun or len(let_go) < len(lacking):
            return
        try:
            rebuild(self._pipeline, self._asked | {item.name for item in let_go})
            self._asked |= {item.name for item in let_go}
        except CacheError:
            if any(item.entry is not None for item in let_go):
                raise
        for item in let_go:
            item.entry = self.cache.whole(item.key)

    def output(self, item: PlannedItem, kind: type[OutputT]) -> OutputT:
        """The output of an item.

        Raises:
            CacheError: it is missing or damaged.
        """
        self.make_whole([item])
        output = self.cache.get(item.key, type(item.stage))
        if output is None:
            raise CacheError(
                "it is damaged and was set aside", where=item.name, remedy=f"qairt run {self.recipe_arguments}"
            )
        assert isinstance(output, kind)
        return output

    def only_output(self, stage: str, kind: type[OutputT]) -> OutputT:
        """The output of a stage that has one item; raises what `items` and `output` do."""
        (item,) = self.items(stage)
        return self.output(item, kind)

    # The model

    @cached_property
    def config(self) -> DecoderConfig:
        from qairt.model.config import DecoderConfig

        return DecoderConfig.model_validate_json(read_regular(self._loaded.model))

    @cached_property
    def tokenizer(self) -> Tokenizer:
        from qairt.model.tokenizer import Tokenizer

        return Tokenizer.from_directory(self._loaded.tokenizer)

    @property
    def tokenizer_file(self) -> Path:
        return self._loaded.tokenizer / "tokenizer.json"

    @property
    def context_length(self) -> int | None:
        """Tokens of prompt and answer together that the recipe generates with, or of a text that it embeds: the
        generator's, or the longest of the graphs; None where the recipe states neither."""
        stated = self.settings.generator.context_length
        if stated is not None or "prepare_exports" not in self.env.configs:
            return stated
        return max(prepare_config(self.env).context_length)

    @cached_property
    def quantized_parts(self) -> dict[int, list[PartGraph]]:
        """The parts of the generator's context length, or of the longest, by AR.

        Raises:
            RecipeError: no graph has the generator's context length.
            CacheError: `quantize` has not finished for all of them.
        """
        wanted, parts = self.settings.generator.context_length, self._parts_by_length
        if wanted is not None and wanted not in parts:
            raise RecipeError(
                f"no graph has context length {wanted}",
                where=self.recipe.where("generator.context_length"),
                remedy=f"the graphs have {', '.join(map(str, sorted(parts)))}",
            )
        return parts[wanted if wanted is not None else max(parts)]

    @property
    def shorter_parts(self) -> dict[int, dict[int, list[PartGraph]]]:
        """The parts of shorter contexts than `quantized_parts`, by context length and AR; raises the same."""
        longest = next(parts[0].signature.cl for parts in self.quantized_parts.values())
        return {length: parts for length, parts in self._parts_by_length.items() if length < longest}

    @cached_property
    def _parts_by_length(self) -> dict[int, dict[int, list[PartGraph]]]:
        """By context length and AR."""
        from qairt.runtime.parts import PartGraph, by_length

        outputs = [self.output(item, QuantizedPart) for item in self.items("quantize")]
        return by_length(PartGraph.read(output.quantized_onnx, output.signature) for output in outputs)

    @cached_property
    def _loaded(self) -> LoadedModel:
        return self.only_output("model_loading", LoadedModel)
