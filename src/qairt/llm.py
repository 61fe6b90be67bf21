"""`LLMPipeline`: a recipe, its stages, and what a user does with the result."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from qairt.engine.cache.manifest import STATE_FOLDER
from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.cause import NEW
from qairt.engine.plan.planned import PlannedItem
from qairt.errors import CacheError, RecipeError
from qairt.recipe.old_keys import apply_old_keys, told
from qairt.recipe.output_settings import model_name
from qairt.recipe.presets import foreign_extras
from qairt.recipe.recipe import Recipe
from qairt.recipe.settings import Settings
from qairt.recipe.vendor import read_vendor_recipe
from qairt.stages.read_recipe import read_recipe

if TYPE_CHECKING:
    from qairt.bundle.contents import Format
    from qairt.device.parts import DeviceParts
    from qairt.engine.run.options import RunOptions, RunResult
    from qairt.evaluate.record import EvaluationRecord
    from qairt.evaluate.subject import EvaluationTarget, Progress
    from qairt.model.config import DecoderConfig
    from qairt.model.tokenizer import Tokenizer
    from qairt.results.device import Chosen, Compiled, DeviceTarget, Prompt
    from qairt.results.genie import GenieModel
    from qairt.runtime.generate import Generation
    from qairt.runtime.generator import Generator
    from qairt.runtime.parts import QuantizedPart
    from qairt.runtime.sampling import Sampling
    from qairt.verify.result import Verification

Target = Literal["cpu", "torch", "htp-emulator"]


class LLMPipeline(Pipeline):
    """A pipeline for a language model; see `Pipeline` for planning and running."""

    settings: Settings

    @classmethod
    def from_recipe(
        cls, path: str | Path, overrides: Sequence[str] = (), cache_dir: str | Path | None = None
    ) -> LLMPipeline:
        """The pipeline of a recipe file.

        Args:
            path: `.yaml` or `.yml`.
            overrides: `KEY=VALUE` with dotted keys, applied over the file.
            cache_dir: instead of the recipe's.

        Raises:
            FileNotFoundError: there is no such file.
            RecipeError: names every fault with file:line and the nearest valid name.
            ContractViolation: the stages are in an order that cannot work.
        """
        recipe = Recipe.from_file(path)
        recipe.override(overrides)
        return cls.of(recipe, cache_dir=cache_dir)

    @classmethod
    def from_pretrained(cls, model: str | Path, recipe: str | Path | Recipe, **kwargs: Any) -> LLMPipeline:
        """The pipeline of `recipe` for another model."""
        loaded = recipe if isinstance(recipe, Recipe) else Recipe.from_file(recipe)
        loaded["model_id_or_path"] = str(model)
        return cls.of(loaded, **kwargs)

    @classmethod
    def load(cls, cache_dir: str | Path) -> LLMPipeline:
        """The pipeline that last ran over `cache_dir`, to go on with it.

        Raises:
            RecipeError: no run left a recipe there.
        """
        path = Path(cache_dir) / STATE_FOLDER / "recipe.yaml"
        if not path.is_file():
            raise RecipeError("no run was started in this cache directory", where=str(path), remedy="qairt run RECIPE")
        return cls.of(Recipe.from_file(path), cache_dir=cache_dir)

    @classmethod
    def of(cls, recipe: Recipe, *, cache_dir: str | Path | None = None) -> LLMPipeline:
        """The pipeline of a recipe in memory."""
        old = apply_old_keys(recipe)
        lost = read_vendor_recipe(recipe)
        settings, stages = read_recipe(recipe)
        name = recipe.source.stem if recipe.source else "recipe"
        model = model_name(settings.model_id_or_path)
        made = cls(
            stages,
            cache_dir or settings.cache_dir or Path("qairt-cache") / name,
            recipe=recipe,
            settings=settings,
            model=model,
            suppress_performance_warnings=settings.suppress_performance_warnings,
            verify_digests=settings.verify.artifacts == "full",
        )
        made.notices += [told(old, recipe)] if old else []
        made.warnings += [*lost, *foreign_extras(recipe, model)]
        return made

    def construct(self, options: RunOptions | None = None) -> RunResult:
        """Run all stages (see `Pipeline.construct`), with memory, CPU and GPU among the events once a second."""
        from qairt.profiling.sampling import ResourceSampling

        sampling = ResourceSampling(self.emit)
        self.add_observer(sampling)
        try:
            return super().construct(options)
        finally:
            sampling.close()
            self.remove_observer(sampling)

    # What a finished run is good for

    @contextmanager
    def generator(self, target: Target = "cpu", say: Callable[[str], None] = print) -> Iterator[Generator]:
        """What runs the model, open while inside.

        Args:
            target: `cpu`, the split quantized graphs in ONNX Runtime; `torch`, the float model; `htp-emulator`, the
                graphs compiled for the NPU and emulated, seconds a token.
            say: told what the emulator does and how long it takes.

        Raises:
            CacheError: a stage that it needs has not run; names it.
        """
        opened = self._open(target, say)
        try:
            yield opened
        finally:
            opened.close()

    def generate(
        self,
        generator: Generator,
        prompt: str | Sequence[dict[str, Any]],
        sampling: Sampling | None = None,
        *,
        max_new_tokens: int = 128,
        chat: bool | None = None,
    ) -> Generation:
        """Answer `prompt`: an iterator over pieces of text with the whole as `.result`; see `runtime.generate`."""
        from qairt.runtime.generate import generate

        config, tokenizer = self._decoder()
        return generate(
            generator,
            tokenizer,
            prompt,
            sampling,
            max_new_tokens=max_new_tokens,
            eos_ids=config.eos_token_ids,
            chat=chat,
        )

    def genie_model(self) -> GenieModel:
        """The model in Genie, the vendor's runtime, on this machine: `with pipeline.genie_model().answer(…) as answer`.

        Raises:
            RecipeError: the recipe makes nothing for the NPU, or has no AR 1.
            CacheError: a part is not quantized yet; names it.
        """
        from qairt.results.genie import genie_model

        config, tokenizer = self._decoder()
        (item,) = self._finished("model_loading")
        output = self._output(item)
        file: Path = output.tokenizer / "tokenizer.json"
        return genie_model(self.plan(), self.env(), self.cache, self._source(), config, tokenizer, file)

    @contextmanager
    def on_device(
        self, chosen: Chosen, prompts: Sequence[Prompt] = (), say: Callable[[str], None] = print
    ) -> Iterator[DeviceTarget]:
        """The finished bundle on a device, ready to answer; what differs there is sent first.

        Args:
            chosen: the device.
            prompts: what will be asked: checked before anything is sent.
            say: told what goes on.

        Raises:
            QairtError: see `qairt.results.device.on_device`.
        """
        from qairt.results.device import on_device

        with self._compiled() as compiled, on_device(compiled, chosen, prompts, say) as target:
            yield target

    @contextmanager
    def device_parts(self, chosen: Chosen, say: Callable[[str], None] = print) -> Iterator[DeviceParts]:
        """What opens this run's quantized parts on a device: `.open` is an `Opener`, for `PartChain` and others.

        Raises:
            QairtError: see `qairt.results.device_parts.device_parts`.
        """
        from qairt.results.device_parts import device_parts

        with self._compiled() as compiled:
            yield device_parts(compiled, chosen, say)

    @contextmanager
    def _compiled(self) -> Iterator[Compiled]:
        """The finished bundle for Genie, and what a device must know of it."""
        from qairt.bundle.metadata import read_metadata
        from qairt.results.device import Compiled
        from qairt.stages.facts import soc_of
        from qairt.stages.toolchain_choice import sdk_root

        (item,) = self._finished("export_bundle")
        output = self._output(item)
        config, tokenizer = self._decoder()
        env, made = self.env(), read_metadata(output.bundle)
        with TemporaryDirectory(dir=self.state_folder, prefix=".device-") as work:
            bundle: Path = output.bundle
            if made is None or made.format != "genie":
                bundle = Path(work) / "bundle"
                self.export(bundle, "genie")
            yield Compiled(
                bundle=bundle,
                recipe=self._name(),
                soc=soc_of(env),
                vocabulary=config.vocab_size,
                tokenizer=tokenizer,
                sdk_root=sdk_root(env),
                state_folder=self.state_folder,
                digest=lambda path: env.digest("execute", path),
            )

    def clean_device(self, chosen: Chosen) -> tuple[str, int]:
        """Remove what this recipe left on a device; returns where, and how many bytes it was."""
        from qairt.results.device import clean

        return clean(chosen, self._name(), self.state_folder)

    def evaluate(
        self,
        target: EvaluationTarget = "cpu",
        *,
        metrics: Sequence[str] = (),
        dataset: str | Path | None = None,
        chunks: int | None = None,
    ) -> dict[str, float]:
        """`{display name: score}` of the recipe's metrics, or of perplexity where it lists none; see `evaluation`."""
        _, record = self.evaluation(target, metrics=metrics, dataset=dataset, chunks=chunks)
        return record.scores

    def evaluation(
        self,
        target: EvaluationTarget = "cpu",
        *,
        metrics: Sequence[str] = (),
        dataset: str | Path | None = None,
        chunks: int | None = None,
        device: str | None = None,
        progress: Progress = lambda what, part: None,
        say: Callable[[str], None] = lambda line: None,
    ) -> tuple[int, EvaluationRecord]:
        """Measure how good the model is; what is found is kept in `metrics.json` and `history.jsonl`.

        What an evaluation that was killed has measured is not measured again.

        Args:
            target: `torch`, the float model; `quantsim`, its encodings simulated in torch, on a GPU where there is one;
                `cpu`, the split quantized graphs in ONNX Runtime; `device` and `ssh`, the compiled ones on a device.
            metrics: only these, by display name or name, or others that are registered.
            dataset: the text that is read: a file, `wikitext`, or a data set on the Hugging Face hub.
            chunks: so many of its chunks.
            device: its name, see `qairt.results.device.Chosen`.
            say: told what is brought to a device.
            progress: told what is being measured and which part of it is done.

        Returns:
            The evaluation's number, from 1, and its record.

        Raises:
            RecipeError: a metric is unknown or has wrong arguments; names those that there are.
            EvaluationError: a text is too short or cannot be read, or a package is missing.
            CacheError: a stage that it needs has not run; names it.
        """
        from qairt.results.device import Chosen
        from qairt.results.evaluation import Evaluation, Opened, chosen_metrics_of
        from qairt.runtime.chain import PartChain

        text = None if dataset is None else str(dataset)
        chosen = chosen_metrics_of(self, metrics, text, chunks)
        of_generator: Target = "torch" if target == "torch" else "cpu"
        opened = Opened(self._finished, self._decoder, self.quantized_parts, lambda: self.generator(of_generator))
        if target not in ("device", "ssh"):
            return Evaluation(self, target, opened, progress).run(chosen)
        with self.device_parts(Chosen(target, device), say) as there:
            on_device = replace(
                opened,
                generator=lambda: PartChain(self.quantized_parts(), self._decoder()[0], there.open),
                open_part=there.open,
                device=there.told,
            )
            return Evaluation(self, target, on_device, progress).run(chosen)

    def verify(
        self,
        rung: str | None = None,
        *,
        part: int | None = None,
        tokens: int | None = None,
        device: str | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> Verification:
        """How far each finished stage's graphs are from the float model, rung by rung and part by part.

        Args:
            rung: one of `qairt.verify.result.RUNGS` or `TOKEN_RUNGS`, all that are made when None; or `device`.
            part: this part alone, counted from 1.
            tokens: of text that the chained parts read; see `qairt.verify.ladder.Asked`.
            device: for the rung `device`, see `qairt.results.device.Chosen.parse`.
            say: told what runs, and what the emulator costs before it starts.

        Raises:
            RecipeError: there is no such rung or part, or the recipe has no model.
            CacheError: nothing is made yet.
            QairtError: an output holds NaN; names it, the rung and the part.
        """
        from qairt.results.device import Chosen
        from qairt.verify.genie_rung import GenieRung
        from qairt.verify.ladder import Asked, Ladder

        ladder = Ladder(
            self.plan(),
            self.env(),
            self.cache,
            self._source(),
            GenieRung(self.genie_model, self._source()),
            partial(self.device_parts, Chosen.parse(device)),
            self.settings.generator.context_length,
        )
        asked, judged = Asked(rung, part, tokens), self.settings.verify
        return ladder.climb(asked, judged.min_sqnr_db.model_dump(), judged.max_tie, say)

    def export(self, directory: str | Path, form: Format | None = None) -> list[Path]:
        """Put the finished bundle into a new folder, compared with its checksums; returns its files.

        Args:
            form: `genie` or `ort`; the recipe's when None. Nothing is run again for the other one.

        Raises:
            RecipeError: the format does not suit the recipe.
            QairtError: the bundle is not finished, `directory` holds something, or the cache is damaged.
        """
        from qairt.bundle.metadata import read_metadata
        from qairt.results.bundle import copy_bundle, gathered, make_bundle
        from qairt.stages.export_bundle import contents_of, require_possible

        (item,) = self._finished("export_bundle")
        output = self._output(item)
        made = read_metadata(output.bundle)
        if form is None or (made is not None and made.format == form):
            return copy_bundle(output.bundle, Path(directory))
        require_possible(self.env(), form)
        inputs, digests = gathered(item, self._output)
        return make_bundle(contents_of(inputs, item.task), Path(directory), form, digests)

    def quantized_parts(self) -> dict[int, list[QuantizedPart]]:
        """The parts of the longest context length (or the generator's), by AR.

        Raises:
            CacheError: `quantize` has not finished for all of them.
        """
        from qairt.runtime.parts import QuantizedPart, by_length

        wanted = self.settings.generator.context_length
        outputs = [self._output(item) for item in self._finished("quantize")]
        found = by_length(QuantizedPart.read(output.quantized_onnx, output.signature) for output in outputs)
        if wanted is not None and wanted not in found:
            raise RecipeError(
                f"no graph has context length {wanted}",
                where=self.recipe.where("generator.context_length"),
                remedy=f"made were {', '.join(map(str, sorted(found)))}",
            )
        return found[wanted if wanted is not None else max(found)]

    def _open(self, target: Target, say: Callable[[str], None]) -> Generator:
        config, _ = self._decoder()
        if target == "torch":
            from qairt.model.parameters import open_parameters
            from qairt.model.reference import Reference
            from qairt.runtime.torch_target import TorchGenerator
            from qairt.stages.facts import model_of

            parameters = open_parameters(model_of(self.env()).source, config)
            lengths: Any = self.stages.prepare_exports.context_length
            return TorchGenerator(Reference(parameters, keep_weights=True), max(lengths))
        if target == "htp-emulator":
            from qairt.runtime.emulator import EmulatedGenerator
            from qairt.toolchain.soc import parse_soc

            soc = parse_soc(self.settings.soc_details)
            return EmulatedGenerator(self.quantized_parts(), config, say=say, soc=soc)
        from qairt.runtime.chain import PartChain

        return PartChain(self.quantized_parts(), config)

    def _name(self) -> str:
        return self.recipe.source.stem if self.recipe.source else "recipe"

    def _source(self) -> str:
        """The recipe, with what the command line sets over it, as remedies name it."""
        return shlex.join([str(self.recipe.source or "RECIPE"), *self.recipe.overrides])

    def _decoder(self) -> tuple[DecoderConfig, Tokenizer]:
        from qairt.model.config import DecoderConfig
        from qairt.model.tokenizer import Tokenizer

        (item,) = self._finished("model_loading")
        output = self._output(item)
        return DecoderConfig.model_validate_json(output.model.read_bytes()), Tokenizer.from_directory(output.tokenizer)

    def _output(self, item: PlannedItem) -> Any:
        from qairt.results.finished import output_of

        return output_of(self.cache, item, self._source())

    def _finished(self, stage: str) -> list[PlannedItem]:
        """A stage's items, all of them cached."""
        if stage not in self.stage_names():
            raise RecipeError(
                f"the recipe has no stage {stage}",
                where=self.recipe.where("stages"),
                remedy=f"add {stage} to its stages",
            )
        planned = next(planned for planned in self.plan().stages if planned.stage.name == stage)
        missing = [item for item in planned.items if not item.cached]
        if missing:
            several = f"{len(missing)} of {len(planned.items)} items of {stage} are"
            why = "" if missing[0].reason == NEW else f": {missing[0].reason}"
            raise CacheError(
                f"{several if len(planned.items) > 1 else 'it is'} not made yet{why}",
                where=missing[0].name,
                remedy=f"qairt run {self._source()}",
            )
        return planned.items
