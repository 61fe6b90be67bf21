"""What `qairt evaluate` measures: a finished run's model on one of its targets, and the record of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from qairt import keys
from qairt.engine.cache.entry import files_digest
from qairt.engine.libraries import minor_versions
from qairt.engine.record.folder import run_folders
from qairt.engine.record.summary import FILE as SUMMARY
from qairt.engine.record.summary import read_summary
from qairt.engine.run.history import recipe_of_run
from qairt.errors import EvaluationError, RecipeError
from qairt.evaluate import record as records
from qairt.evaluate.record import EvaluationRecord
from qairt.evaluate.subject import EvaluationTarget, Progress, Subject
from qairt.files import read_text, write_atomic
from qairt.notify import silent
from qairt.recipe.configs import BASE
from qairt.results.concurrency import float_branches, require_concurrency, stored_branches
from qairt.results.finished import FinishedRun
from qairt.results.generation import Target, opened_generator
from qairt.stages.concurrencies import described
from qairt.stages.facts import model_of, open_quantized, settings_of
from qairt.stages.quantization import Quantized

if TYPE_CHECKING:
    from qairt.device.parts import DeviceParts
    from qairt.engine.pipeline import Pipeline
    from qairt.evaluate.metric import Metric
    from qairt.model.parameters import Parameters
    from qairt.quant.encodings import Encodings
    from qairt.runtime.generator import Generator
    from qairt.runtime.parts import PartGraph

ARITHMETIC = 3
"""Raised when a target computes different numbers from the same artifacts; stored scores are then not reused."""

_ARTIFACTS: Mapping[EvaluationTarget, tuple[str, ...]] = {
    "torch": (),
    "quantsim": ("quantization",),
    "cpu": ("quantize",),
    "device": ("quantize", "export_bundle"),
    "ssh": ("quantize", "export_bundle"),
}
"""The stages whose items a target runs, besides the model."""
_COMPUTED_WITH: Mapping[EvaluationTarget, tuple[str, ...]] = {
    "torch": ("torch",),
    "quantsim": ("torch",),
    "cpu": ("onnxruntime", "torch"),
    "device": ("torch",),
    "ssh": ("torch",),
}
"""The packages that compute the numbers here; those of the float model that a target is compared with too."""


class Evaluation:
    """An evaluation of a finished run on one target."""

    def __init__(
        self,
        run: FinishedRun,
        target: EvaluationTarget,
        progress: Progress,
        device_parts: DeviceParts | None = None,
        concurrency: str = BASE,
    ) -> None:
        """
        Args:
            device_parts: opens parts on the device, for the targets device and ssh.
            concurrency: of LoRA adapters, by its name in the recipe.

        Raises:
            RecipeError: there is no such concurrency; lists those that there are.
        """
        run.require_generating()
        require_concurrency(run, concurrency)
        self._concurrency = concurrency
        self._run = run
        self._env = run.env
        self._target = target
        self._progress = progress
        self._device_parts = device_parts

    def run(self, metrics: Sequence[Metric]) -> tuple[int, EvaluationRecord]:
        """Measure the metrics and record the scores; returns the evaluation's number in the history, and the record.

        Raises:
            CacheError: a stage is not finished; names it.
            QairtError: a metric cannot be measured; raised before the first begins where that can be known.
        """
        from qairt.evaluate.run import evaluate

        started = time.perf_counter()
        subject = self._subject()
        self._run.cache.prepare()
        found = evaluate(metrics, subject)
        moment, host = records.now()
        model = model_of(self._env)
        recipe = records.recipe_of(dict(self._run.recipe))
        record = EvaluationRecord(
            target=self._target,
            concurrency=self._concurrency,
            adapters=self._adapters(),
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
        number = records.add_record(subject.state_folder, record)
        self._add_to_summary(record)
        folder = self._run.settings.evaluator.output_dir
        if folder is not None:
            write_atomic(
                Path(folder) / f"evaluation_{number}.json",
                json.dumps(record.plain(), indent=2) + "\n",
            )
        return number, record

    def _add_to_summary(self, record: EvaluationRecord) -> None:
        """Show the perplexity in the list of runs, at the latest finished run if it ran this recipe."""
        perplexities = [found.score for found in record.metrics.values() if found.metric == "perplexity"]
        if record.target == "torch" or record.concurrency != BASE or not perplexities:
            return
        for folder in reversed(run_folders(self._run.state_folder)):
            summary = read_summary(folder)
            if summary.state == "done":
                recipe = recipe_of_run(folder)
                if recipe is not None and records.recipe_of(recipe) == record.recipe:
                    metrics = summary.metrics | {"ppl": perplexities[0]}
                    with suppress(OSError):
                        folder.write(SUMMARY, summary.model_copy(update={"metrics": metrics}).model_dump())
                return

    def _subject(self) -> Subject:
        run = self._run
        for stage in ("model_loading", *_ARTIFACTS[self._target]):
            run.items(stage)
        config, tokenizer = run.config, run.tokenizer
        parts = run.quantized_parts if "quantize" in _ARTIFACTS[self._target] else {}
        from qairt.model.device import torch_device

        return Subject(
            target=self._target,
            config=config,
            tokenizer=tokenizer,
            context_length=self._context_length(parts),
            answer_length=self._answer_length,
            identity=self._identity(parts),
            state_folder=run.state_folder,
            open_parameters=lambda: open_quantized(model_of(self._env).source, config, None, None),
            open_simulation=self._simulation,
            open_parts=lambda: parts,
            open_generator=self._generator,
            float_branches=lambda parameters: float_branches(run, self._concurrency, parameters),
            stored_branches=lambda: stored_branches(run, self._concurrency),
            open_part=self._device_parts.open if self._device_parts is not None else None,
            device=torch_device(run.settings.execution_environment.device),
            progress=self._progress,
        )

    def _identity(self, parts: Mapping[int, Sequence[PartGraph]]) -> str:
        """A digest of everything that scores depend on besides metric and text."""
        identity: dict[str, object] = {
            "arithmetic": ARITHMETIC,
            "target": self._target,
            "model": self._key("model_loading"),
            "artifacts": {stage: self._files(stage) for stage in _ARTIFACTS[self._target]},
            "computed_with": minor_versions(_COMPUTED_WITH[self._target]),
            "parts": sorted(part.signature.name for of_ar in parts.values() for part in of_ar),
        }
        if self._concurrency != BASE:
            identity["concurrency"] = concurrency_identity(run=self._run, concurrency=self._concurrency)
        if self._device_parts is not None and self._device_parts.told:
            identity["device"] = self._device_parts.told
        return keys.digest(identity)

    def _adapters(self) -> str:
        if self._concurrency == BASE:
            return ""
        return keys.digest(concurrency_identity(run=self._run, concurrency=self._concurrency))

    def _simulation(self) -> tuple[Parameters, Encodings]:
        """The weights after quantization, and all encodings."""
        from qairt.quant.encodings_json import read_encodings

        output = self._run.only_output("quantization", Quantized)
        source = model_of(self._env).source
        parameters = open_quantized(source, self._run.config, output.changed_weights, output.rotation)
        return parameters, read_encodings(read_text(output.encodings))

    @contextmanager
    def _generator(self) -> Iterator[Generator]:
        generator: Generator
        if self._device_parts is not None:
            from qairt.runtime.chain import PartChain

            stored = stored_branches(self._run, self._concurrency)
            generator = PartChain(self._run.quantized_parts, self._run.config, self._device_parts.open, branches=stored)
        elif self._target == "quantsim":
            from qairt.quant.simulate import Simulated
            from qairt.runtime.torch_target import TorchGenerator

            parameters, encodings = self._simulation()
            branches = float_branches(self._run, self._concurrency, parameters)
            simulated = Simulated(parameters, encodings, keep_weights=True, branches=branches)
            generator = TorchGenerator(simulated, self._answer_length)
        else:
            target: Target = "torch" if self._target == "torch" else "cpu"
            with opened_generator(self._run, target, silent, self._concurrency) as opened:
                yield opened
            return
        try:
            yield generator
        finally:
            generator.close()

    def _key(self, stage: str) -> str:
        """A digest of a stage's items, by their keys."""
        return keys.digest(sorted(item.key for item in self._run.items(stage)))

    def _files(self, stage: str) -> str:
        """The same by their keys and files: a forced stage may give other files under one key."""
        records = {item.key: item.record for item in self._run.items(stage)}
        return keys.digest({key: record and files_digest(record.files) for key, record in records.items()})

    @property
    def _answer_length(self) -> int:
        """Tokens of a prompt and its answer together."""
        return self._run.context_length or self._run.config.max_position_embeddings

    def _context_length(self, parts: Mapping[int, Sequence[PartGraph]]) -> int:
        """Tokens per chunk.

        Raises:
            RecipeError: the graphs, or a window that the layers do not have, hold fewer.
        """
        config, evaluator = self._run.config, self._run.settings.evaluator
        length = evaluator.context_length
        graphs = self._run.context_length
        if "context_length" not in evaluator.model_fields_set:
            length = graphs if graphs is not None else min(length, config.max_position_embeddings)
        held = min((part.signature.cl for of_ar in parts.values() for part in of_ar), default=length)
        window = config.longest_unwindowed or length
        most, what = min((held, "the graphs hold"), (window, "the attention's window holds"))
        if length > most:
            raise RecipeError(
                f"chunks of {length} tokens: {what} {most}",
                where=self._run.recipe.where("evaluator.context_length"),
                remedy=f"set evaluator.context_length to {most} or fewer",
            )
        return length

    def _toolchain(self) -> str:
        from qairt.toolchain import cpu
        from qairt.toolchain.qnn import wheel

        return cpu.version() if self._run.settings.backend == "CPU" else wheel.version()


def concurrency_identity(run: FinishedRun, concurrency: str) -> object:
    """What scores of a concurrency depend on besides the model: its adapters by content, and their strengths."""
    found = require_concurrency(run, concurrency)
    assert found is not None  # only the base needs no adapters
    return described(run.env, "evaluate", found, concurrency)


def with_text_of(run: FinishedRun, concurrency: str, metrics: Sequence[Metric]) -> list[Metric]:
    """Metrics that name no text read the calibration text of the concurrency.

    Raises:
        RecipeError: there is no such concurrency; lists those that there are.
    """
    from qairt.evaluate.metric import TextMetric

    found = require_concurrency(run, concurrency)
    if found is None or concurrency == BASE:
        return [*metrics]
    text = {"dataset": str(found.text(concurrency))}
    return [
        metric.model_copy(update=text) if isinstance(metric, TextMetric) and metric.dataset is None else metric
        for metric in metrics
    ]


def metrics_to_measure(
    pipeline: Pipeline, names: Sequence[str], dataset: str | None, chunks: int | None
) -> list[Metric]:
    """The metrics of a recipe or those named; see `qairt.evaluate.choice.chosen_metrics`."""
    from qairt.evaluate.choice import chosen_metrics

    if chunks is not None and chunks < 1:
        raise EvaluationError(f"{chunks} chunks are out of range", where="chunks", remedy="use 1 or more")
    listed = settings_of(pipeline.env()).evaluator.metrics
    return chosen_metrics(pipeline.recipe, listed, names, dataset=dataset, chunks=chunks)
