"""Measuring the rungs of a finished run, each result stored as an item of the cache.

    pipeline_state/verify/verify_{key[:8]}/fidelity.json    one rung, whole or not at all

The key of a result holds the keys of the items it ran, the request and the toolchain. Results are stored rung by rung,
so an interrupted call resumes at its rung. Thresholds are not in the key: they judge what was measured.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache, partial
from typing import TYPE_CHECKING

from qairt.engine.axes import value_of
from qairt.engine.stage import StageOutput
from qairt.errors import CacheError, ToolchainNotAvailable
from qairt.notify import Notify
from qairt.recipe.configs import BASE
from qairt.results.concurrency import stored_branches
from qairt.results.device_selection import DeviceSelection
from qairt.results.exported_weights import exported_weights
from qairt.results.finished import FinishedRun
from qairt.results.genie import genie_model
from qairt.results.genie_binaries import GenieBinaries
from qairt.results.genie_embedding import GenieEmbedder
from qairt.stages.export import ExportedModel
from qairt.stages.facts import model_of, soc_of
from qairt.stages.mha_to_sha_conversion import SingleHeadPart
from qairt.stages.prepare_exports import BoundModel
from qairt.stages.quantize import QuantizedPart
from qairt.stages.split_model import SplitPart
from qairt.verify.genie_rung import GenieRung
from qairt.verify.genie_vectors import GenieVectors
from qairt.verify.result import (
    DEVICE,
    QUANTIZED,
    RUNGS,
    TOKEN_RUNGS,
    CheckpointFidelity,
    LayerCost,
    RungFidelity,
    SkippedRung,
    TokenFidelity,
    VectorFidelity,
    Verification,
)
from qairt.verify.rungs import EMULATOR, Rungs, VerifyRequest
from qairt.verify.stored_results import StoredResults

if TYPE_CHECKING:
    from qairt.model.parts import Part
    from qairt.runtime.parts import Opener
    from qairt.verify.graph import GraphRunner, OpenGraph

_FLOAT_OUTPUTS = (ExportedModel, BoundModel, SplitPart, SingleHeadPart)


class Verifier:
    """Compares a finished run's graphs with the float model."""

    def __init__(self, run: FinishedRun, device: DeviceSelection) -> None:
        """
        Args:
            device: for the rung `device`.
        """
        self._run = run
        self._device = device
        self._tokens = GenieRung(partial(genie_model, run, starts_short=False), run.recipe_arguments)
        self._vectors = GenieVectors(lambda: GenieEmbedder(run, self._rungs.cl), run.recipe_arguments)
        self._rungs = Rungs(run, self._vectors if run.is_embedding else self._tokens)

    def run(self, request: VerifyRequest, notify: Notify) -> Verification:
        """Measure the rungs whose artifacts are built; stored results are reused.

        Raises:
            RecipeError: there is no such rung or part, or the recipe has no model.
            CacheError: there is nothing to measure yet.
            QairtError: an output holds NaN; names it, the rung and the part. Results of earlier rungs are stored.
        """
        self._rungs.require(request)
        measured: list[RungFidelity] = []
        tokens: list[TokenFidelity] = []
        vectors: list[VectorFidelity] = []
        skipped: list[SkippedRung] = []
        results = StoredResults(self._run.cache, notify)
        for rung in (*RUNGS, *TOKEN_RUNGS) if request.rung is None else (request.rung,):
            why = self._rungs.why_not(rung, request)
            if why is not None:
                skipped.append(SkippedRung(rung=rung, why=why))
                continue
            concurrencies = self._rungs.concurrencies(request)
            if rung == DEVICE:
                measured += self._measure(rung, request, notify, concurrencies)
            elif rung in TOKEN_RUNGS and self._run.is_embedding:
                compare = partial(self._measure_vectors, rung, request, notify)
                vectors.append(results.get_or_measure(self._rungs.key(rung, request), VectorFidelity, compare))
            elif rung in TOKEN_RUNGS:
                for name in concurrencies:
                    measure_tokens = partial(self._measure_tokens, rung, request, notify, name)
                    key = self._rungs.key(rung, request, name)
                    tokens.append(results.get_or_measure(key, TokenFidelity, measure_tokens))
            else:
                keys = {name: self._rungs.key(rung, request, name) for name in concurrencies}
                measure = partial(self._measure, rung, request, notify)
                measured += results.get_or_measure_all(keys, RungFidelity, measure)
        is_whole = request == VerifyRequest(tokens=request.tokens)
        checkpoint = self._checkpoint(skipped, notify) if is_whole else None
        if not measured and request.rung is None:
            raise CacheError("no rung is built yet", where="export", remedy=f"qairt run {self._run.recipe_arguments}")
        thresholds = self._run.settings.verify
        return Verification(
            rungs=tuple(measured),
            skipped=tuple(skipped),
            min_sqnr_db=thresholds.min_sqnr_db.model_dump(),
            reused=tuple(results.reused),
            tokens=tuple(tokens),
            vectors=tuple(vectors),
            max_tie=thresholds.max_tie,
            min_top1=thresholds.min_top1,
            max_kl=thresholds.max_kl,
            min_cpu_db=thresholds.min_cpu_db,
            checkpoint=checkpoint,
        )

    def _checkpoint(self, skipped: list[SkippedRung], notify: Notify) -> CheckpointFidelity | None:
        """Once per model: its checkpoint read by transformers too. Where that cannot be, `skipped` says why."""
        from qairt.verify.checkpoint import CHECKPOINT, compare_checkpoint, why_not

        model = model_of(self._run.env)
        why = why_not(model)
        if why is None:
            compare = partial(compare_checkpoint, model.source, self._rungs.float_model)
            try:
                stored = StoredResults(self._run.cache, notify)
                return stored.get_or_measure(self._rungs.checkpoint_key(), CheckpointFidelity, compare)
            except ToolchainNotAvailable as error:
                why = error.what
        skipped.append(SkippedRung(rung=CHECKPOINT, why=why))
        return None

    def _measure(
        self, rung: str, request: VerifyRequest, notify: Notify, concurrencies: Sequence[str]
    ) -> list[RungFidelity]:
        from qairt.verify.rung import MeasuredText, RungGraphs, measure
        from qairt.verify.text import plan_calls

        start = time.perf_counter()
        rungs = self._rungs
        self._run.make_whole(rungs.items(rung, request))
        tokens = {name: rungs.tokens(rung, request, name) for name in concurrencies}
        texts = [
            MeasuredText(
                name,
                rungs.model(name).text(rounded=rung in QUANTIZED),
                plan_calls(tokens[name], rungs.ars, rungs.cl, decoded=rungs.decoded(rung)),
            )
            for name in concurrencies
        ]
        if rung == EMULATOR:
            from qairt.verify.cost import emulator_cost

            calls = [call for text in texts for call in text.calls]
            notify(emulator_cost(rungs.parts[: request.part], rungs.ars, calls))
        with ExitStack() as stack:
            open_on_device = None
            if rung == DEVICE:
                from qairt.results.device_parts import device_parts

                open_on_device = stack.enter_context(device_parts(self._run, self._device, notify)).open
            open_graph = self._opener(rung, request, open_on_device)
            graphs = RungGraphs(rung, rungs.parts, rungs.ars, rungs.cl, open_graph)
            measure(graphs, texts, only=request.part, notify=notify)
        found = []
        for text in texts:
            layers = self._layer_costs(tokens[""], notify) if self._has_layer_costs(rung, request, text.name) else ()
            found.append(
                RungFidelity(
                    rung=rung,
                    concurrency=text.name,
                    tokens=tokens[text.name],
                    seconds=round((time.perf_counter() - start) / len(texts), 2),
                    outputs=tuple(text.outputs),
                    weight_bits=rungs.float_model.weight_bits if rung in QUANTIZED else None,
                    layers=tuple(layers),
                )
            )
        return found

    def _has_layer_costs(self, rung: str, request: VerifyRequest, concurrency: str) -> bool:
        """An external graph's layers have other tensors than the model; an embedding model has no logits."""
        whole = request.part is None and not concurrency and not self._run.is_embedding
        return rung == "quantize" and whole and not self._rungs.is_external

    def _layer_costs(self, tokens: int, notify: Notify) -> Sequence[LayerCost]:
        from qairt.verify.layers import TOKENS, layer_costs

        model = self._rungs.float_model
        return layer_costs(model.original, model.exported, model.encodings, model.ids[: min(tokens, TOKENS)], notify)

    def _measure_tokens(self, rung: str, request: VerifyRequest, notify: Notify, concurrency: str) -> TokenFidelity:
        model = self._rungs.model(concurrency)
        ids = [int(token) for token in model.ids[: self._rungs.tokens(rung, request, concurrency)]]
        branches = stored_branches(self._run, concurrency or BASE)
        return self._tokens.measure(ids, self._parts_in(self._tokens.binaries), notify, concurrency, branches)

    def _measure_vectors(self, rung: str, request: VerifyRequest, notify: Notify) -> VectorFidelity:
        ids = [int(token) for token in self._rungs.float_model.ids[: self._rungs.tokens(rung, request)]]
        return self._vectors.measure(ids, self._parts_in(self._vectors.binaries), notify)

    def _parts_in(self, binaries: GenieBinaries) -> list[QuantizedPart]:
        """In their order."""
        parts = {value_of(item.coord, "split", 1): self._run.output(item, QuantizedPart) for item in binaries.items}
        return [parts[split] for split in sorted(parts)]

    def _opener(self, rung: str, request: VerifyRequest, open_on_device: Opener | None) -> OpenGraph:
        outputs = {
            (value_of(item.coord, "ar", 0), value_of(item.coord, "split", 0)): self._run.output(item, StageOutput)
            for item in self._rungs.items(rung, request)
        }
        is_whole = rung in ("export", "prepare_exports")
        whole_weights = cache(lambda: exported_weights(self._run))

        def open_graph(part: Part, ar: int) -> GraphRunner:
            from qairt.runtime.cpu import CpuPart
            from qairt.runtime.parts import PartGraph
            from qairt.verify.graph import FloatGraph, StoredGraph

            output = outputs[0 if rung == "export" else ar, 0 if is_whole else part.index]
            if rung not in QUANTIZED:
                assert isinstance(output, _FLOAT_OUTPUTS)
                weights = whole_weights() if output.weights is None else None
                return FloatGraph(output.onnx, cut=part if is_whole else None, weights=weights)
            assert isinstance(output, QuantizedPart)
            quantized = PartGraph.read(output.quantized_onnx, output.signature)
            if rung == "quantize":
                return StoredGraph(quantized, CpuPart)
            if open_on_device is not None:
                return StoredGraph(quantized, open_on_device, compare_with_cpu=True)
            from qairt.runtime.emulator import EmulatedPart

            return StoredGraph(quantized, partial(EmulatedPart, soc=soc_of(self._run.env)), compare_with_cpu=True)

        return open_graph
