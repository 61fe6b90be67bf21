"""`LLMPipeline`: a recipe, its stages, and what can be done with the result."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.pipeline import Pipeline
from qairt.engine.shared_store.of_user import store_of_user
from qairt.errors import RecipeError
from qairt.files import expanded
from qairt.notify import Notify, silent
from qairt.recipe.configs import BASE
from qairt.recipe.defaults_list import mount_defaults
from qairt.recipe.documented_keys import apply_checkpoint, apply_documented_keys, unused_adapters
from qairt.recipe.file_settings import argument_path
from qairt.recipe.files import CACHES, default_cache_dir
from qairt.recipe.find import find_recipe
from qairt.recipe.old_keys import apply_old_keys, format_old_keys
from qairt.recipe.output_settings import model_name
from qairt.recipe.presets import unused_extras
from qairt.recipe.recipe import Recipe
from qairt.recipe.settings import RecipeSettings
from qairt.recipe.vendor import read_vendor_recipe
from qairt.stages.read_recipe import read_recipe

if TYPE_CHECKING:
    from qairt.bundle.contents import Format
    from qairt.device.parts import DeviceParts
    from qairt.engine.run.options import RunOptions
    from qairt.evaluate.record import EvaluationRecord
    from qairt.evaluate.subject import EvaluationTarget, Progress
    from qairt.recipe.configs import LoRAAdapterMetadata
    from qairt.results.device import DeviceTarget
    from qairt.results.device_selection import DeviceSelection
    from qairt.results.embedding import Embeddings, EmbeddingTarget
    from qairt.results.finished import FinishedRun
    from qairt.results.generation import Prompt, Target
    from qairt.results.genie import GenieModel
    from qairt.runtime.generate import Generation, GenerationResult, Resumable
    from qairt.runtime.generator import Generator
    from qairt.runtime.parts import PartGraph
    from qairt.runtime.sampling import Sampling
    from qairt.verify.result import Verification


class LLMPipeline(Pipeline):
    """A pipeline for a language model; see `Pipeline` for planning and running."""

    settings: RecipeSettings

    @classmethod
    def from_recipe(
        cls, path: str | Path, overrides: Sequence[str] = (), cache_dir: str | Path | None = None
    ) -> LLMPipeline:
        """The pipeline of a recipe file.

        Args:
            path: `.yaml` or `.yml`.
            overrides: `KEY=VALUE` with dotted keys, applied over the file.
            cache_dir: overrides the recipe's.

        Raises:
            FileNotFoundError: there is no such file.
            RecipeError: lists every fault with file:line and the nearest valid name.
            ContractViolation: the stages are in an order that cannot work.
        """
        recipe = Recipe.from_file(path)
        recipe.override(overrides)
        return cls.from_recipe_object(recipe, cache_dir=cache_dir)

    @classmethod
    def from_pretrained(
        cls, model: str | Path, recipe: str | Path | Mapping[str, Any], *, cache_dir: str | Path | None = None
    ) -> LLMPipeline:
        """The pipeline of a recipe for a model; raises what `from_recipe` does.

        Args:
            model: a Hugging Face folder or id, or a GGUF file; a path is relative to the working directory first.
            recipe: a file, the name of a recipe that qairt ships, or its settings, which are not changed.
        """
        loaded = Recipe.of(recipe) if isinstance(recipe, Mapping) else Recipe.from_file(find_recipe(str(recipe)))
        loaded["model_id_or_path"] = argument_path(loaded, str(model), RecipeSettings, "model_id_or_path")
        return cls.from_recipe_object(loaded, cache_dir=cache_dir)

    @classmethod
    def load(cls, cache_dir: str | Path) -> LLMPipeline:
        """The pipeline that last ran in `cache_dir`, to resume it.

        Raises:
            RecipeError: no run left a recipe there.
        """
        path = Path(cache_dir) / STATE_FOLDER / "recipe.yaml"
        if not path.is_file():
            raise RecipeError("no run was started in this cache directory", where=str(path), remedy="qairt run RECIPE")
        return cls.from_recipe_object(Recipe.from_file(path), cache_dir=cache_dir)

    @classmethod
    def from_recipe_object(cls, recipe: Recipe, *, cache_dir: str | Path | None = None) -> LLMPipeline:
        """The pipeline of a recipe in memory; raises what `from_recipe` does."""
        old_keys = apply_old_keys(recipe)
        ignored = [*mount_defaults(recipe), *apply_documented_keys(recipe), *read_vendor_recipe(recipe)]
        apply_checkpoint(recipe)
        settings, stages = read_recipe(recipe)
        model = model_name(settings.model_id_or_path)
        folder = Path(expanded(cache_dir) if cache_dir else settings.cache_dir or default_cache_dir(recipe.source))
        pipeline = cls(
            stages,
            folder,
            recipe=recipe,
            settings=settings,
            model=model,
            suppress_performance_warnings=settings.suppress_performance_warnings,
            enable_cache=settings.enable_cache is not False,
            checkpoint=settings.checkpoint is True,
            keep=settings.keep,
            verify_digests=settings.verify.artifacts == "full",
            log_level=settings.log_level,
            store=store_of_user(folder.absolute() / STATE_FOLDER),
        )
        if cache_dir is None and settings.cache_dir is None and recipe.source is not None:
            pipeline.notices += _cache_elsewhere(recipe.source, pipeline.cache_dir)
        pipeline.notices += [format_old_keys(old_keys, recipe)] if old_keys else []
        pipeline.warnings += [*ignored, *unused_extras(recipe, model), *unused_adapters(recipe, settings.lora)]
        return pipeline

    def construct(self, options: RunOptions | None = None) -> Self:
        """Run all stages (see `Pipeline.construct`) and emit memory, CPU and GPU samples once a second."""
        if not self.settings.enable_observers:
            return super().construct(options)
        from qairt.profiling.sampling import ResourceSampling

        sampling = ResourceSampling(self.emit)
        self.add_observer(sampling)
        try:
            return super().construct(options)
        finally:
            sampling.close()
            self.remove_observer(sampling)

    # Using a finished run

    def finished(self) -> FinishedRun:
        """The plan and the outputs in the cache, for several uses of one finished run.

        Raises:
            QairtError: the settings cannot work.
        """
        from qairt.results.finished import FinishedRun

        return FinishedRun(self)

    @contextmanager
    def generator(
        self,
        target: Target = "cpu",
        notify: Notify = print,
        *,
        concurrency: str = BASE,
        strengths: Mapping[str, float] | None = None,
    ) -> Iterator[Generator]:
        """The model on a target, open while inside.

        Args:
            target: `cpu`, the split quantized graphs in ONNX Runtime; `torch`, the float model; `htp-emulator`, the
                graphs compiled for the NPU and emulated, seconds per token.
            notify: gets the emulator's progress, line by line.
            concurrency: of LoRA adapters, by its name in the recipe; `base` is the model without them.
            strengths: of adapters, by name, where they are not the concurrency's; only with `form: hot_switch`.

        Raises:
            RecipeError: there is no such concurrency, or no such strength; lists those that there are.
            CacheError: a stage that the target needs has not finished; names it.
        """
        from qairt.results.concurrency import with_strengths
        from qairt.results.generation import opened_generator

        run = self.finished()
        with opened_generator(run, target, notify, with_strengths(run, concurrency, strengths)) as generator:
            self._run_of_generator[id(generator)] = run
            try:
                yield generator
            finally:
                del self._run_of_generator[id(generator)]

    def generate(
        self,
        prompt: Prompt,
        sampling: Sampling | None = None,
        *,
        target: Target = "cpu",
        concurrency: str = BASE,
        strengths: Mapping[str, float] | None = None,
        max_new_tokens: int = 128,
        chat: bool | None = None,
    ) -> GenerationResult:
        """The whole answer to `prompt`, with its timing; `print()` prints it. For several prompts, see `generator`.

        Raises:
            RecipeError: there is no such concurrency of LoRA adapters; lists those that there are.
            CacheError: a stage that the target needs has not finished; names it.
            GenerationError: the prompt is empty, or leaves no room for an answer.
        """
        with self.generator(target, concurrency=concurrency, strengths=strengths) as generator:
            return self.answer(generator, prompt, sampling, max_new_tokens=max_new_tokens, chat=chat).result

    def answer(
        self,
        generator: Generator,
        prompt: Prompt,
        sampling: Sampling | None = None,
        *,
        max_new_tokens: int = 128,
        chat: bool | None = None,
    ) -> Generation:
        """Answer `prompt`: an iterator over pieces of text, with the whole as `.result`; see `runtime.generate`."""
        from qairt.runtime.generate import generate

        run = self._run_of_generator.get(id(generator)) or self.finished()
        return generate(
            generator,
            run.tokenizer,
            prompt,
            sampling,
            max_new_tokens=max_new_tokens,
            eos_ids=run.config.eos_token_ids,
            chat=chat,
        )

    @property
    def lora_adapter_metadata(self) -> LoRAAdapterMetadata | None:
        """PEFT's settings of the recipe's LoRA adapters and their scalings, from the finished stage model_loading; None
        without adapters.

        Raises:
            CacheError: the model is not loaded yet.
        """
        from qairt.stages.adapter_metadata import read_metadata
        from qairt.stages.model_loading import LoadedModel

        path = self.finished().only_output("model_loading", LoadedModel).adapters
        return None if path is None else read_metadata(path)

    def embed(
        self,
        texts: Sequence[str],
        *,
        target: EmbeddingTarget = "cpu",
        prompt: str | None = None,
        notify: Notify = silent,
    ) -> Embeddings:
        """Vectors of texts by an embedding model: `pipeline.embed(["a", "b"]).vectors`, `.cosines`.

        Args:
            target: `cpu`, the split quantized graphs in ONNX Runtime; `torch`, the float model; `htp-emulator`, the
                graphs compiled for the NPU and emulated; `genie`, the same in the vendor's runtime.
            prompt: the name of what the model's authors put before texts of this use, such as `query`.
            notify: gets the progress of the slow targets, line by line.

        Raises:
            ModelError: this is no embedding model, or it has no such prompt; lists those it has.
            GenerationError: a text is empty, or longer than the graphs' context.
            CacheError: a stage that the target needs has not finished; names it.
        """
        from qairt.results.embedding import embed

        return embed(self.finished(), texts, target, prompt, notify)

    def load_state(
        self,
        generator: Resumable,
        path: str | Path,
        *,
        concurrency: str = BASE,
        strengths: Mapping[str, float] | None = None,
    ) -> None:
        """Let a generator not read again what a prompt has in common with the beginning of what `save_state` wrote.

        Args:
            generator: on target `cpu` or `htp-emulator`, opened with the same adapters.

        Raises:
            GenerationError: it cannot be read, or other graphs or adapters computed it.
        """
        from qairt.results.concurrency import with_strengths
        from qairt.results.saved_state import load_state

        run = self.finished()
        generator.resume(load_state(run, Path(path), with_strengths(run, concurrency, strengths)))

    def save_state(
        self,
        generator: Resumable,
        path: str | Path,
        *,
        concurrency: str = BASE,
        strengths: Mapping[str, float] | None = None,
    ) -> None:
        """Write the tokens that a generator has read, with their keys and values: a prompt that begins with them need
        not read them again.

        Args:
            generator: on target `cpu` or `htp-emulator`, opened with the same adapters.

        Raises:
            GenerationError: the context is full.
            CacheError: the file cannot be written.
        """
        from qairt.results.concurrency import with_strengths
        from qairt.results.saved_state import save_state

        run = self.finished()
        save_state(run, generator.saved(), Path(path), with_strengths(run, concurrency, strengths))

    def genie_model(self, concurrency: str = BASE, strengths: Mapping[str, float] | None = None) -> GenieModel:
        """The model in Genie, the vendor's runtime, on this machine: `with pipeline.genie_model().answer(…) as answer`.

        Args:
            concurrency: of LoRA adapters, by its name in the recipe. An open dialog can switch to the others.
            strengths: see `generator`.

        Raises:
            RecipeError: the recipe builds nothing for the NPU, or has no AR 1.
            CacheError: a part is not quantized yet; names it.
        """
        from qairt.results.concurrency import with_strengths
        from qairt.results.genie import genie_model

        run = self.finished()
        return genie_model(run, with_strengths(run, concurrency, strengths))

    def on_device(
        self,
        selection: DeviceSelection,
        prompts: Sequence[Prompt] = (),
        notify: Notify = print,
        *,
        concurrency: str = BASE,
        strengths: Mapping[str, float] | None = None,
    ) -> AbstractContextManager[DeviceTarget]:
        """The finished bundle on a device, ready to answer; see `qairt.results.device.on_device`.

        Args:
            prompts: that will be asked; checked before anything is sent.
            notify: gets the progress, line by line.
            concurrency: of LoRA adapters, by its name in the recipe.
            strengths: see `generator`.
        """
        from qairt.results.concurrency import with_strengths
        from qairt.results.device import on_device

        run = self.finished()
        return on_device(run, selection, prompts, notify, with_strengths(run, concurrency, strengths))

    def device_parts(self, selection: DeviceSelection, notify: Notify = print) -> AbstractContextManager[DeviceParts]:
        """Opens this run's quantized parts on a device; see `qairt.results.device_parts.device_parts`."""
        from qairt.results.device_parts import device_parts

        return device_parts(self.finished(), selection, notify)

    def clean_device(self, selection: DeviceSelection) -> tuple[str, int]:
        """Remove what this recipe left on a device; returns the place and the bytes that were freed."""
        from qairt.results.deploy import clean

        return clean(selection, self.recipe.source.stem if self.recipe.source else "recipe", self.state_folder)

    def evaluate(
        self,
        target: EvaluationTarget = "cpu",
        *,
        metrics: Sequence[str] = (),
        dataset: str | Path | None = None,
        chunks: int | None = None,
        concurrency: str = BASE,
        strengths: Mapping[str, float] | None = None,
    ) -> dict[str, float]:
        """`{display name: score}` of the recipe's metrics, or of perplexity if it lists none; see `evaluation`."""
        _, record = self.evaluation(
            target, metrics=metrics, dataset=dataset, chunks=chunks, concurrency=concurrency, strengths=strengths
        )
        return record.scores

    def evaluation(
        self,
        target: EvaluationTarget = "cpu",
        *,
        metrics: Sequence[str] = (),
        dataset: str | Path | None = None,
        chunks: int | None = None,
        device: str | None = None,
        concurrency: str = BASE,
        strengths: Mapping[str, float] | None = None,
        progress: Progress = lambda what, fraction: None,
        notify: Notify = silent,
    ) -> tuple[int, EvaluationRecord]:
        """Measure how good the model is, and record the scores in `metrics.json` and `history.jsonl`.

        Chunks that an earlier evaluation measured, also one that was killed, are not measured again.

        Args:
            target: `torch`, the float model; `quantsim`, its encodings simulated in torch, on a GPU if there is one;
                `cpu`, the split quantized graphs in ONNX Runtime; `device` and `ssh`, the compiled ones on a device.
            metrics: only these, by display name or name; any registered metric.
            dataset: the text to read: a file, `wikitext`, or a data set on the Hugging Face hub.
            chunks: how many of its chunks.
            device: its name, see `qairt.results.device_selection.DeviceSelection`.
            concurrency: of LoRA adapters, by its name in the recipe. It is compared with the float model with these
                adapters; a metric that names no text reads the concurrency's calibration text.
            strengths: see `generator`.
            progress: called with what is being measured and the fraction that is done.
            notify: gets what is sent to a device, line by line.

        Returns:
            The evaluation's number, from 1, and its record.

        Raises:
            RecipeError: a metric is unknown or has wrong arguments; lists what is allowed.
            EvaluationError: a text is too short or cannot be read, or a package is missing.
            CacheError: a stage that the target needs has not finished; names it.
        """
        from qairt.results.concurrency import with_strengths
        from qairt.results.device_selection import DeviceSelection
        from qairt.results.evaluation import Evaluation, metrics_to_measure, with_text_of

        chosen = metrics_to_measure(self, metrics, None if dataset is None else str(dataset), chunks)
        run = self.finished()
        concurrency = with_strengths(run, concurrency, strengths)
        chosen = with_text_of(run, concurrency, chosen)
        with ExitStack() as stack:
            parts = None
            if target in ("device", "ssh"):
                from qairt.results.device_parts import device_parts

                parts = stack.enter_context(device_parts(run, DeviceSelection(target, device), notify))
            return Evaluation(run, target, progress, parts, concurrency).run(chosen)

    def verify(
        self,
        rung: str | None = None,
        *,
        part: int | None = None,
        tokens: int | None = None,
        device: str | None = None,
        concurrency: str | None = None,
        strengths: Mapping[str, float] | None = None,
        notify: Notify = silent,
    ) -> Verification:
        """How far each finished stage's graphs are from the float model, rung by rung and part by part.

        Args:
            rung: one of `qairt.verify.result.RUNGS` or `TOKEN_RUNGS`, or `device`; all that are built when None.
            part: this part alone, counted from 1.
            tokens: of text that the chained parts read; see `qairt.verify.rungs.VerifyRequest`.
            device: for the rung `device`, see `qairt.results.device_selection.DeviceSelection.parse`.
            concurrency: of LoRA adapters; the base and all of them when None.
            strengths: see `generator`; they are those of `concurrency`, or of the base when it is None.
            notify: gets what runs, and what the emulator costs before it starts.

        Raises:
            RecipeError: there is no such rung, part or concurrency, or the recipe has no model.
            CacheError: nothing is built yet.
            QairtError: an output holds NaN; names it, the rung and the part.
        """
        from qairt.results.device_selection import DeviceSelection
        from qairt.verify.rungs import VerifyRequest
        from qairt.verify.verifier import Verifier

        run = self.finished()
        if strengths:
            from qairt.results.concurrency import with_strengths

            concurrency = with_strengths(run, concurrency or BASE, strengths)
        verifier = Verifier(run, DeviceSelection.parse(device))
        return verifier.run(VerifyRequest(rung, part, tokens, concurrency), notify)

    def export_workfolder(self, directory: str | Path) -> list[Path]:
        """Link every artifact into a new folder; see `qairt.results.workfolder`."""
        from qairt.results.workfolder import export_workfolder

        return export_workfolder(self.finished(), Path(directory))

    def export_dlcs(self, directory: str | Path) -> list[Path]:
        """Copy every DLC into a new folder; see `qairt.results.dlcs`."""
        from qairt.results.dlcs import export_dlcs

        return export_dlcs(self.finished(), Path(directory))

    def export_importer_files(self, directory: str | Path) -> list[Path]:
        """Write what the SDK's LoRA importer reads to a new folder; see `qairt.results.importer_files`."""
        from qairt.results.importer_files import export_importer_files

        return export_importer_files(self.finished(), Path(directory))

    def export_package(self, directory: str | Path) -> list[Path]:
        """Write the bundle for onnxruntime-genai as a model package; see `qairt.results.bundle.export_package`."""
        from qairt.results.bundle import export_package

        return export_package(self.finished(), Path(directory))

    def export(self, directory: str | Path, form: Format | None = None) -> list[Path]:
        """Write the finished bundle to a new folder; see `qairt.results.bundle.export`."""
        from qairt.results.bundle import export

        return export(self.finished(), Path(directory), form)

    def quantized_parts(self) -> dict[int, list[PartGraph]]:
        """The parts of the generator's context length, or of the longest, by AR.

        Raises:
            CacheError: `quantize` has not finished for all of them.
        """
        return self.finished().quantized_parts

    @cached_property
    def _run_of_generator(self) -> dict[int, FinishedRun]:
        """The finished run behind each open generator, by `id`."""
        return {}


def _cache_elsewhere(recipe: Path, cache_dir: Path) -> list[str]:
    """Say that a cache in the working directory, where earlier versions had it, is not this recipe's any more."""
    earlier = Path(CACHES, recipe.stem).absolute()
    own_recipe_there = Path(recipe.name).is_file()
    if earlier == cache_dir or own_recipe_there or not (earlier / STATE_FOLDER).is_dir():
        return []
    move = f"mkdir -p {shlex.quote(str(cache_dir.parent))} && mv {shlex.join([str(earlier), str(cache_dir)])}"
    how = f"use it with --cache-dir {earlier}" if cache_dir.exists() else f"move it there: {move}"
    return [f"a recipe's cache is beside its file now, in {cache_dir}; the one in {earlier} is not used: {how}"]
