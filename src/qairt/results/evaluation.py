"""What `qairt evaluate` measures: a finished run's model on one of its targets, and the record of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any

from qairt import keys
from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.record.folder import run_folders
from qairt.engine.record.summary import FILE as SUMMARY
from qairt.engine.record.summary import read_summary
from qairt.engine.run.history import recipe_of_run
from qairt.errors import EvaluationError, RecipeError
from qairt.evaluate import record as records
from qairt.evaluate.record import EvaluationRecord
from qairt.evaluate.subject import EvaluationTarget, Progress, Subject
from qairt.files import write_atomic
from qairt.stages.facts import find_file, model_of, open_quantized, settings_of

if TYPE_CHECKING:
    from qairt.evaluate.metric import Metric
    from qairt.model.config import DecoderConfig
    from qairt.model.parameters import Parameters
    from qairt.model.tokenizer import Tokenizer
    from qairt.quant.encodings import Encodings
    from qairt.runtime.generator import Generator
    from qairt.runtime.parts import Opener, QuantizedPart

ARITHMETIC = 1
"""Raised when a target computes other numbers from the same artifacts: scores of before are then not reused."""

_ARTIFACTS: Mapping[EvaluationTarget, tuple[str, ...]] = {
    "torch": (),
    "quantsim": ("quantization",),
    "cpu": ("quantize",),
    "device": ("quantize", "export_bundle"),
    "ssh": ("quantize", "export_bundle"),
}
"""The stages that a target is made of, besides the model."""


@dataclass(frozen=True)
class Opened:
    """How an LLM pipeline gives its artifacts."""

    finished: Callable[[str], list[PlannedItem]]
    """A stage's items; raises `CacheError` where one is not made."""
    decoder: Callable[[], tuple[DecoderConfig, Tokenizer]]
    parts: Callable[[], Mapping[int, Sequence[QuantizedPart]]]
    generator: Callable[[], AbstractContextManager[Generator]]
    """Of the targets but quantsim."""
    open_part: Opener | None = None
    """On a device: what runs a part there."""
    device: str = ""
    """What computes there: device, chip and runtime."""


class Evaluation:
    """An evaluation of a pipeline's artifacts on one target."""

    def __init__(self, pipeline: Pipeline, target: EvaluationTarget, opened: Opened, progress: Progress) -> None:
        self._pipeline = pipeline
        self._target = target
        self._opened = opened
        self._finished = cache(opened.finished)  # each call plans anew
        self._progress = progress
        self._env = pipeline.env()

    def run(self, metrics: Sequence[Metric]) -> tuple[int, EvaluationRecord]:
        """Measure, and keep what was found: its number in the history, and the record.

        Raises:
            CacheError: a stage is not finished; names it.
            QairtError: a metric cannot be measured; said before the first begins where it can be known.
        """
        from qairt.evaluate.run import evaluate

        started = time.perf_counter()
        subject = self._subject()
        self._pipeline.cache.prepare()
        found = evaluate(metrics, subject)
        moment, host = records.now()
        model = model_of(self._env)
        recipe = records.recipe_of(dict(self._pipeline.recipe))
        record = EvaluationRecord(
            target=self._target,
            metrics=found,
            context_length=subject.context_length,
            model=str(model.source),
            model_digest=keys.digest([(path.name, self._env.digest("evaluate", path)) for path in model.files]),
            recipe=recipe,
            recipe_digest=keys.digest(recipe),
            artifacts={stage: self._key(stage) for stage in _ARTIFACTS[self._target]},
            toolchain=self._toolchain(),
            versions={package: metadata.version(package) for package in ("qairt", "torch", "onnxruntime")},
            time=moment,
            seconds=round(time.perf_counter() - started, 3),
            host=host,
        )
        number = records.keep(subject.state_folder, record)
        self._show_in_runs(record)
        folder = settings_of(self._env).evaluator.output_dir
        if folder is not None:
            write_atomic(
                find_file(self._env, folder) / f"evaluation_{number}.json",
                json.dumps(record.plain(), indent=2) + "\n",
            )
        return number, record

    def _show_in_runs(self, record: EvaluationRecord) -> None:
        """The list of runs shows the perplexity of what the latest finished run of this recipe made."""
        perplexities = [found.score for found in record.metrics.values() if found.metric == "perplexity"]
        if record.target == "torch" or not perplexities:
            return
        for folder in reversed(run_folders(self._pipeline.state_folder)):
            summary = read_summary(folder)
            if summary.state == "done":
                ran = recipe_of_run(folder)
                if ran is not None and records.recipe_of(ran) == record.recipe:
                    metrics = summary.metrics | {"ppl": perplexities[0]}
                    with suppress(OSError):
                        folder.write(SUMMARY, summary.model_copy(update={"metrics": metrics}).model_dump())
                return

    def _subject(self) -> Subject:
        for stage in ("model_loading", *_ARTIFACTS[self._target]):
            self._finished(stage)
        config, tokenizer = self._opened.decoder()
        parts = self._opened.parts() if "quantize" in _ARTIFACTS[self._target] else {}
        identity = {
            "arithmetic": ARITHMETIC,
            "target": self._target,
            "model": self._key("model_loading"),
            "artifacts": {stage: self._key(stage) for stage in _ARTIFACTS[self._target]},
            "parts": sorted(part.signature.name for of_ar in parts.values() for part in of_ar),
        }
        if self._opened.device:
            identity["device"] = self._opened.device
        from qairt.model.device import torch_device

        return Subject(
            target=self._target,
            config=config,
            tokenizer=tokenizer,
            context_length=self._context_length(config, parts),
            identity=keys.digest(identity),
            state_folder=self._pipeline.state_folder,
            find=lambda name: find_file(self._env, name),
            open_parameters=lambda: open_quantized(model_of(self._env).source, config, None, None),
            open_simulation=lambda: self._simulation(config),
            open_parts=lambda: parts,
            open_generator=lambda: self._generator(config),
            open_part=self._opened.open_part,
            device=torch_device(settings_of(self._env).execution_environment.device),
            progress=self._progress,
        )

    def _simulation(self, config: DecoderConfig) -> tuple[Parameters, Encodings]:
        """The weights as quantization left them, and all encodings."""
        from qairt.quant.encodings_json import read_encodings

        (item,) = self._finished("quantization")
        output: Any = self._pipeline.cache.get(item.key, type(item.stage))
        source = model_of(self._env).source
        parameters = open_quantized(source, config, output.changed_weights, output.rotation)
        return parameters, read_encodings(output.encodings.read_text())

    @contextmanager
    def _generator(self, config: DecoderConfig) -> Iterator[Generator]:
        if self._target != "quantsim":
            with self._opened.generator() as opened:
                yield opened
            return
        from qairt.quant.simulate import Simulated
        from qairt.runtime.torch_target import TorchGenerator

        simulated = Simulated(*self._simulation(config), keep_weights=True)
        generator = TorchGenerator(simulated, self._graphs_length() or config.max_position_embeddings)
        try:
            yield generator
        finally:
            generator.close()

    def _key(self, stage: str) -> str:
        """A digest of what a stage made, by what it was made from."""
        return keys.digest(sorted(item.key for item in self._finished(stage)))

    def _graphs_length(self) -> int | None:
        """The context length of the graphs; None where the recipe makes none."""
        settings = settings_of(self._env)
        prepare: Any = self._env.configs.get("prepare_exports")
        if settings.generator.context_length is not None or prepare is None:
            return settings.generator.context_length
        return int(max(prepare.context_length))

    def _context_length(self, config: DecoderConfig, parts: Mapping[int, Sequence[QuantizedPart]]) -> int:
        """Tokens a chunk.

        Raises:
            RecipeError: the graphs, or the attention's window, hold fewer.
        """
        evaluator = settings_of(self._env).evaluator
        length = evaluator.context_length
        graphs = self._graphs_length()
        if "context_length" not in evaluator.model_fields_set:
            length = graphs if graphs is not None else min(length, config.max_position_embeddings)
        held = min((part.signature.cl for of_ar in parts.values() for part in of_ar), default=length)
        most, what = min((held, "the graphs hold"), (config.sliding_window or length, "the attention's window holds"))
        if length > most:
            raise RecipeError(
                f"chunks of {length} tokens: {what} {most}",
                where=self._pipeline.recipe.where("evaluator.context_length"),
                remedy=f"set evaluator.context_length to {most} or fewer",
            )
        return length

    def _toolchain(self) -> str:
        from qairt.toolchain import cpu
        from qairt.toolchain.qnn import wheel

        return cpu.version() if settings_of(self._env).backend == "CPU" else wheel.version()


def chosen_metrics_of(
    pipeline: Pipeline, names: Sequence[str], dataset: str | None, chunks: int | None
) -> list[Metric]:
    """The metrics to measure; see `qairt.evaluate.choice.chosen_metrics`."""
    from qairt.evaluate.choice import chosen_metrics

    if chunks is not None and chunks < 1:
        raise EvaluationError(f"{chunks} chunks are none", where="chunks", remedy="give 1 or more")
    listed = pipeline.settings.evaluator.metrics
    return chosen_metrics(pipeline.recipe, listed, names, dataset=dataset, chunks=chunks)
