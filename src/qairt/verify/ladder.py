"""What `qairt verify` runs on: the finished items of a plan as rungs, and their results as items of the cache.

    pipeline_state/verify/verify_{key[:8]}/fidelity.json    one rung, whole or not at all

A result's key holds the keys of the items it ran, what was asked and what ran it; so it is stored rung by rung, and a
call that was interrupted goes on at the rung it was in. Thresholds are not in it: they judge what was measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.engine.axes import value_of
from qairt.engine.cache.cache import StageCache
from qairt.engine.plan.planned import Plan, PlannedItem
from qairt.engine.stage import Env
from qairt.errors import CacheError, RecipeError
from qairt.results.finished import output_of
from qairt.stages.facts import model_of, settings_of, soc_of
from qairt.stages.prepare_exports import prepare_config
from qairt.stages.split_model import parts_for, parts_of
from qairt.verify.float_model import FloatModel
from qairt.verify.kept import STAGE, Results
from qairt.verify.result import (
    DEVICE,
    QUANTIZED,
    RUNGS,
    TOKEN_RUNGS,
    RungFidelity,
    SkippedRung,
    TokenFidelity,
    Verification,
)

if TYPE_CHECKING:
    from qairt.device.parts import DeviceParts
    from qairt.model.parts import Part
    from qairt.runtime.parts import Opener
    from qairt.verify.genie_rung import GenieRung
    from qairt.verify.graph import Graph, OpenGraph

VERSION = 2
"""Raised by hand when the same artifacts give another result."""
DECODED = 16
"""Tokens of the text that the smallest AR reads; the largest reads those before."""
EMULATED_DECODED = 1
EMULATOR = "htp_emulator"
GENIE = "genie"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What to measure."""

    rung: str | None = None
    """One of `RUNGS` or `TOKEN_RUNGS`, all of them when None; or `DEVICE`."""
    part: int | None = None
    tokens: int | None = None
    """Tokens of text that the chained parts read: all that are kept, for the emulator one call of the largest AR and
    one token, and for Genie 8, when None."""


@dataclass
class Ladder:
    """The rungs of a plan.

    Args:
        context_length: of the graphs; the longest there is when None.
        source: the recipe as the remedies name it.
        genie: the rung on the vendor's runtime.
        device_parts: opens the parts on a device.
    """

    plan: Plan
    env: Env
    cache: StageCache
    source: str
    genie: GenieRung
    device_parts: Callable[[Say], AbstractContextManager[DeviceParts]]
    context_length: int | None = None
    _items: dict[str, list[PlannedItem]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for planned in self.plan.stages:
            self._items[planned.stage.name] = list(planned.batch.values())

    def climb(self, asked: Asked, min_sqnr_db: dict[str, float], max_tie: float, say: Say) -> Verification:
        """Measure the rungs whose artifacts are made; what was measured before is read.

        Args:
            min_sqnr_db: by rung; `max_tie`: for the rungs of tokens. Both only judge what is found.

        Raises:
            RecipeError: there is no such rung or part, or the recipe has no model.
            CacheError: there is nothing to measure yet.
            QairtError: an output holds NaN; names it, the rung and the part. Rungs before it are stored.
        """
        self._require(asked)
        measured: list[RungFidelity] = []
        tokens: list[TokenFidelity] = []
        skipped: list[SkippedRung] = []
        results = Results(self.cache, say)
        for rung in (*RUNGS, *TOKEN_RUNGS) if asked.rung is None else (asked.rung,):
            why = self._why_not(rung, asked)
            if why is not None:
                skipped.append(SkippedRung(rung=rung, why=why))
                continue
            if rung == DEVICE:
                measured.append(self._measure(rung, asked, say))
            elif rung in TOKEN_RUNGS:
                measure_tokens = partial(self._measure_tokens, rung, asked, say)
                tokens.append(results.kept(rung, self._inputs(rung, asked), TokenFidelity, measure_tokens))
            else:
                measure = partial(self._measure, rung, asked, say)
                measured.append(results.kept(rung, self._inputs(rung, asked), RungFidelity, measure))
        if not measured and asked.rung is None:
            raise CacheError("no rung is made yet", where="export", remedy=f"qairt run {self.source}")
        return Verification(
            rungs=tuple(measured),
            skipped=tuple(skipped),
            min_sqnr_db=min_sqnr_db,
            reused=tuple(results.reused),
            tokens=tuple(tokens),
            max_tie=max_tie,
        )

    # What there is

    def _require(self, asked: Asked) -> None:
        known = (*RUNGS, *TOKEN_RUNGS, DEVICE)
        if asked.rung is not None and asked.rung not in known:
            raise RecipeError(f"there is no rung {asked.rung}", where="--rung", remedy=f"the rungs: {', '.join(known)}")
        if "quantization" not in self._items:
            raise RecipeError(
                "there is no float model to compare with: the recipe starts from a foreign ONNX",
                where="stages.export.onnx",
                remedy="verify needs a recipe with model_loading and quantization",
            )
        lengths = self._context_lengths
        if self.cl not in lengths:
            raise RecipeError(
                f"no graph has context length {self.cl}",
                where="generator.context_length",
                remedy=f"the recipe makes {', '.join(map(str, lengths))}",
            )
        if asked.part is not None and not 1 <= asked.part <= len(self.parts):
            raise RecipeError(
                f"there is no part {asked.part}", where="--part", remedy=f"the model has parts 1 to {len(self.parts)}"
            )
        if asked.tokens is not None and asked.tokens < 1:
            raise RecipeError(f"{asked.tokens} is out of range", where="--tokens", remedy="give 1 or more")
        for stage in ("model_loading", "quantization"):
            (item,) = self._items[stage]
            if not item.cached:
                raise CacheError(
                    f"nothing to compare with yet: {item.reason}", where=item.name, remedy=f"qairt run {self.source}"
                )

    @cached_property
    def parts(self) -> list[Part]:
        return parts_of(self.env) if "split_model" in self.env.configs else parts_for(self.env, 1)

    @cached_property
    def cl(self) -> int:
        return self.context_length or max(self._context_lengths)

    @property
    def _context_lengths(self) -> list[int]:
        return prepare_config(self.env).context_length if "prepare_exports" in self.env.configs else [2048]

    @cached_property
    def ars(self) -> list[int]:
        return sorted(prepare_config(self.env).arn) if "prepare_exports" in self.env.configs else [1, 128]

    def _stage_of(self, rung: str) -> str:
        return "quantize" if rung in (EMULATOR, DEVICE, *TOKEN_RUNGS) else rung

    def _why_not(self, rung: str, asked: Asked) -> str | None:
        """Why a rung cannot be measured, or None."""
        stage = self._stage_of(rung)
        if stage not in self._items:
            return f"the recipe has no stage {stage}"
        if rung in (EMULATOR, GENIE, DEVICE) and settings_of(self.env).backend != "HTP":
            return "backend: CPU makes nothing for the NPU"
        items = self._items_of(rung, asked)
        missing = [item for item in items if not item.cached]
        if missing:
            return f"{len(missing)} of {len(items)} items are not made yet: {missing[0].name}; qairt run {self.source}"
        if rung == EMULATOR:
            from qairt.errors import ToolchainNotAvailable
            from qairt.toolchain.qnn import wheel

            try:
                wheel.require()
            except ToolchainNotAvailable as error:
                return f"{error.what}: {error.remedy}"
        if rung == GENIE:
            return self.genie.why_not(is_asked=asked.rung == GENIE, part=asked.part)
        return None

    def _items_of(self, rung: str, asked: Asked) -> list[PlannedItem]:
        """The items whose graphs a rung runs: those of its context length, up to the part asked for."""
        items = [item for item in self._items[self._stage_of(rung)] if value_of(item.coord, "cl", self.cl) == self.cl]
        if rung in TOKEN_RUNGS:
            items = [item for item in items if value_of(item.coord, "ar", 0) == 1]
        last = asked.part or len(self.parts)
        return [item for item in items if value_of(item.coord, "split", 1) <= last]

    def _inputs(self, rung: str, asked: Asked) -> dict[str, Any]:
        """Everything a result depends on."""
        items = [*self._items["quantization"], *self._items_of(rung, asked)]
        facts: dict[str, Any] = {
            "version": VERSION,
            "sources": {item.name: item.key for item in items},
            # A file that was changed in place is another one, though its item's key is the same.
            "files": {item.name: _stamps(item) for item in items},
        }
        if rung in (EMULATOR, GENIE):
            from qairt.toolchain.qnn import wheel

            facts |= {"toolchain": wheel.version(), "soc": soc_of(self.env).name}
        if rung == GENIE:
            facts |= {"binaries": self.genie.binaries.keys()}
        asked_for = {
            "rung": rung,
            "part": asked.part,
            "tokens": self._tokens(rung, asked),
            "decoded": self.genie.new if rung == GENIE else _decoded(rung),
            "cl": self.cl,
        }
        return {"stage": STAGE, "config": asked_for, "upstream": None, "extras": facts}

    # Measuring

    def _tokens(self, rung: str, asked: Asked) -> int:
        longest = min(len(self._float.ids), self.cl)
        if rung == GENIE:
            return min(asked.tokens or self.genie.prompt, longest, self.cl - self.genie.new)
        if asked.tokens is not None:
            return min(asked.tokens, longest)
        if rung in (EMULATOR, DEVICE):
            return min(max(self.ars) + EMULATED_DECODED, longest)
        return longest

    def _measure(self, rung: str, asked: Asked, say: Say) -> RungFidelity:
        from qairt.verify.rung import measure
        from qairt.verify.text import plan_calls

        start = time.perf_counter()
        tokens = self._tokens(rung, asked)
        calls = plan_calls(tokens, self.ars, self.cl, decoded=_decoded(rung))
        if rung == EMULATOR:
            from qairt.verify.cost import emulator_cost

            say(emulator_cost(self.parts[: asked.part], self.ars, calls))
        with ExitStack() as stack:
            on_device = stack.enter_context(self.device_parts(say)).open if rung == DEVICE else None
            outputs = measure(
                rung,
                self.parts,
                self.ars,
                self._opener(rung, asked, on_device),
                self._float.text(rounded=rung in QUANTIZED),
                calls,
                self.cl,
                only=asked.part,
                say=say,
            )
        layers: Sequence[Any] = ()
        if rung == "quantize" and asked.part is None:
            from qairt.verify.layers import TOKENS, layer_costs

            ids = self._float.ids[: min(tokens, TOKENS)]
            layers = layer_costs(self._float.original, self._float.exported, self._float.encodings, ids, say)
        return RungFidelity(
            rung=rung,
            tokens=tokens,
            seconds=round(time.perf_counter() - start, 2),
            outputs=tuple(outputs),
            layers=tuple(layers),
        )

    def _measure_tokens(self, rung: str, asked: Asked, say: Say) -> TokenFidelity:
        ids = [int(token) for token in self._float.ids[: self._tokens(rung, asked)]]
        parts = {value_of(item.coord, "split", 1): self._output(item) for item in self.genie.binaries.items}
        return self.genie.measure(ids, [parts[split] for split in sorted(parts)], say)

    def _opener(self, rung: str, asked: Asked, on_device: Opener | None) -> OpenGraph:
        outputs = {
            (value_of(item.coord, "ar", 0), value_of(item.coord, "split", 0)): self._output(item)
            for item in self._items_of(rung, asked)
        }
        whole = rung in ("export", "prepare_exports")

        def opened(part: Part, ar: int) -> Graph:
            from qairt.runtime.cpu import CpuPart
            from qairt.runtime.parts import QuantizedPart
            from qairt.verify.graph import FloatGraph, StoredGraph

            output = outputs[0 if rung == "export" else ar, 0 if whole else part.index]
            if rung not in QUANTIZED:
                return FloatGraph(output.onnx, cut=part if whole else None)
            quantized = QuantizedPart.read(output.quantized_onnx, output.signature)
            if rung == "quantize":
                return StoredGraph(quantized, CpuPart)
            if on_device is not None:
                return StoredGraph(quantized, on_device, compared=True)
            from qairt.runtime.emulator import EmulatedPart

            return StoredGraph(quantized, partial(EmulatedPart, soc=soc_of(self.env)), compared=True)

        return opened

    @cached_property
    def _float(self) -> FloatModel:
        (loaded,), (quantized,) = self._items["model_loading"], self._items["quantization"]
        return FloatModel(model_of(self.env).source, self._output(loaded), self._output(quantized))

    def _output(self, item: PlannedItem) -> Any:
        return output_of(self.cache, item, self.source)


def _decoded(rung: str) -> int:
    return EMULATED_DECODED if rung in (EMULATOR, DEVICE) else DECODED


def _stamps(item: PlannedItem) -> dict[str, list[int]]:
    """Size and time of an item's files, by name."""
    if item.entry is None:
        return {}
    found: dict[str, list[int]] = {}
    for name in item.entry.files:
        status = (Path(item.entry.directory) / name).stat()
        found[name] = [status.st_size, status.st_mtime_ns]
    return found
