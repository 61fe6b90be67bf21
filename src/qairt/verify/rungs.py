"""The rungs of a finished run: the items of each, why one cannot be measured, and what its result depends on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from qairt.engine.axes import value_of
from qairt.engine.plan.planned import PlannedItem
from qairt.errors import CacheError, RecipeError, ToolchainNotAvailable
from qairt.model.parts import Part
from qairt.recipe.configs import BASE
from qairt.results.concurrency import float_branches, require_concurrency
from qairt.results.finished import FinishedRun
from qairt.stages.concurrencies import concurrencies_of, described
from qairt.stages.export import ExportedModel
from qairt.stages.facts import model_of, soc_of
from qairt.stages.model_loading import LoadedModel
from qairt.stages.prepare_exports import prepare_config
from qairt.stages.quantization import Quantized
from qairt.stages.split_model import parts_for, parts_of
from qairt.verify.float_model import AdaptedModel, FloatModel
from qairt.verify.genie_rung import GenieRung
from qairt.verify.genie_vectors import GenieVectors
from qairt.verify.result import DEVICE, RUNGS, TOKEN_RUNGS
from qairt.verify.stored_results import STAGE, ResultKey

VERSION = 2
"""Raised by hand when the same artifacts give another result."""
AGAINST_CPU = "beyond one step"
"""What `cpu_db` of a stored result counts."""
DECODED = 16
"""Tokens of the text that the smallest AR reads; the largest reads those before."""
EMULATED_DECODED = 1
EMULATOR = "htp_emulator"
GENIE = "genie"


@dataclass(frozen=True)
class VerifyRequest:
    """What to measure."""

    rung: str | None = None
    """One of `RUNGS` or `TOKEN_RUNGS`, all of them when None; or `DEVICE`."""
    part: int | None = None
    """This part alone, counted from 1."""
    tokens: int | None = None
    """Tokens of text that the chained parts read. None: all that are recorded; on the emulator one call of the largest
    AR and one token; in Genie 8."""
    concurrency: str | None = None
    """The LoRA concurrency to measure, or `base`. None: the base, and every one that the recipe has."""


class Rungs:
    """The rungs of a finished run."""

    def __init__(self, run: FinishedRun, genie: GenieRung | GenieVectors) -> None:
        self._run = run
        self._env = run.env
        self._genie = genie
        self._adapted: dict[str, FloatModel] = {}
        self._items = {planned.stage.name: list(planned.batch.values()) for planned in run.plan.stages}

    def require(self, request: VerifyRequest) -> None:
        """
        Raises:
            RecipeError: there is no such rung or part, or the recipe has no model.
            CacheError: the float model is not quantized yet.
        """
        known = (*RUNGS, *TOKEN_RUNGS, DEVICE)
        if request.rung is not None and request.rung not in known:
            raise RecipeError(
                f"there is no rung {request.rung}", where="--rung", remedy=f"the rungs are {', '.join(known)}"
            )
        if "model_loading" not in self._items:
            raise RecipeError(
                "there is no float model to compare with: the recipe starts from an external ONNX graph",
                where="stages.export.onnx",
                remedy="set model_id_or_path to the model it was exported from, and put model_loading before export",
            )
        lengths = self._context_lengths
        if self.cl not in lengths:
            raise RecipeError(
                f"no graph has context length {self.cl}",
                where="generator.context_length",
                remedy=f"the recipe builds {', '.join(map(str, lengths))}",
            )
        if request.part is not None and not 1 <= request.part <= len(self.parts):
            raise RecipeError(
                f"there is no part {request.part}", where="--part", remedy=f"the model has parts 1 to {len(self.parts)}"
            )
        if request.tokens is not None and request.tokens < 1:
            raise RecipeError(f"{request.tokens} is out of range", where="--tokens", remedy="give 1 or more")
        if request.tokens is not None and self._run.is_embedding:
            raise RecipeError(
                "an embedding model makes one vector of the whole text", where="--tokens", remedy="leave --tokens out"
            )
        if request.concurrency is not None:
            require_concurrency(self._run, request.concurrency)
        for stage in ("model_loading", self._encoded_by):
            (item,) = self._items[stage]
            if not item.cached:
                raise CacheError(
                    f"nothing to compare with yet: {item.reason}",
                    where=item.name,
                    remedy=f"qairt run {self._run.recipe_arguments}",
                )

    def concurrencies(self, request: VerifyRequest) -> list[str]:
        """What a rung that computes tensors is measured with; empty stands for the base."""
        found = concurrencies_of(self._env)
        names = found.names if found is not None else [BASE]
        if request.concurrency is not None:
            names = [request.concurrency]
        return ["" if name == BASE else name for name in names]

    @property
    def is_external(self) -> bool:
        """The graphs come from an external ONNX graph."""
        return "quantization" not in self._items

    @property
    def _encoded_by(self) -> str:
        """The stage that the encodings come from."""
        return "export" if self.is_external else "quantization"

    # Lengths and parts

    @cached_property
    def parts(self) -> list[Part]:
        return parts_of(self._env) if "split_model" in self._env.configs else parts_for(self._env, 1)

    @cached_property
    def cl(self) -> int:
        return self._run.context_length or max(self._context_lengths)

    @property
    def _context_lengths(self) -> list[int]:
        return prepare_config(self._env).context_length if "prepare_exports" in self._env.configs else [2048]

    @cached_property
    def ars(self) -> list[int]:
        if self._run.is_embedding:
            return [self.cl]
        return sorted(prepare_config(self._env).arn) if "prepare_exports" in self._env.configs else [1, 128]

    # One rung

    def why_not(self, rung: str, request: VerifyRequest) -> str | None:
        """Why a rung cannot be measured; None when it can."""
        stage = _stage_of(rung)
        if stage not in self._items:
            return f"the recipe has no stage {stage}"
        if rung == "export" and self.is_external:
            return "an external graph has the lengths it was exported for: prepare_exports is the first to be compared"
        if rung in (EMULATOR, GENIE, DEVICE) and self._run.settings.backend != "HTP":
            return "backend: CPU builds nothing for the NPU"
        items = self.items(rung, request)
        missing = [item for item in items if not item.cached]
        if missing:
            command = f"qairt run {self._run.recipe_arguments}"
            return f"{len(missing)} of {len(items)} items are not built yet: {missing[0].name}; {command}"
        if rung == EMULATOR:
            from qairt.toolchain.qnn import wheel

            try:
                wheel.require()
            except ToolchainNotAvailable as error:
                return f"{error.what}: {error.remedy}"
        if rung == GENIE:
            return self._genie.why_not(is_requested=request.rung == GENIE, part=request.part)
        return None

    def items(self, rung: str, request: VerifyRequest) -> list[PlannedItem]:
        """The items whose graphs a rung runs: those of its context length, up to the requested part."""
        items = [item for item in self._items[_stage_of(rung)] if value_of(item.coord, "cl", self.cl) == self.cl]
        if rung in TOKEN_RUNGS:
            read = self.cl if self._run.is_embedding else 1
            items = [item for item in items if value_of(item.coord, "ar", 0) == read]
        last = request.part or len(self.parts)
        return [item for item in items if value_of(item.coord, "split", 1) <= last]

    def tokens(self, rung: str, request: VerifyRequest, concurrency: str = "") -> int:
        """How many tokens of a concurrency's text a rung reads."""
        longest = min(len(self.model(concurrency).ids), self.cl)
        if self._run.is_embedding:
            return longest
        if rung == GENIE and isinstance(self._genie, GenieRung):
            return min(request.tokens or self._genie.prompt, longest, self.cl - self._genie.new)
        if request.tokens is not None:
            return min(request.tokens, longest)
        if rung in (EMULATOR, DEVICE):
            return min(max(self.ars) + EMULATED_DECODED, longest)
        return longest

    def decoded(self, rung: str) -> int:
        """How many of them the smallest AR reads."""
        return EMULATED_DECODED if rung in (EMULATOR, DEVICE) else DECODED

    def key(self, rung: str, request: VerifyRequest, concurrency: str = "") -> ResultKey:
        """Everything that the result of a rung depends on."""
        items = [*self._items[self._encoded_by], *self.items(rung, request)]
        facts: dict[str, object] = {
            "version": VERSION,
            "sources": {item.name: item.key for item in items},
            # A file that was changed in place keeps its item's key.
            "files": {item.name: _stamps(item) for item in items},
        }
        if rung == EMULATOR:
            facts["against_cpu"] = AGAINST_CPU
        if rung in (EMULATOR, GENIE):
            from qairt.toolchain.qnn import wheel

            facts |= {"toolchain": wheel.version(), "soc": soc_of(self._env).name}
        if rung == GENIE:
            facts |= {"binaries": self._genie.binaries.keys()}
        config = {
            "rung": rung,
            "part": request.part,
            "tokens": self.tokens(rung, request, concurrency),
            "decoded": self._genie.new if rung == GENIE else self.decoded(rung),
            "cl": self.cl,
        }
        if concurrency:
            config["concurrency"] = concurrency
            facts["adapters"] = self._adapters(concurrency)
        inputs = {"stage": STAGE, "config": config, "upstream": None, "extras": facts}
        return ResultKey(rung, request.part, inputs, concurrency)

    def _adapters(self, concurrency: str) -> object:
        """The adapters and the text of a concurrency."""
        found = concurrencies_of(self._env)
        assert found is not None
        text = self._env.digest(STAGE, found.text(concurrency))
        return [described(self._env, STAGE, found, concurrency), text]

    def checkpoint_key(self) -> ResultKey:
        """Everything that the comparison of the float model with an independent reader depends on."""
        from qairt.verify.checkpoint import CHECKPOINT, TOKENS

        items = [*self._items["model_loading"], *self._items[self._encoded_by]]
        facts = {"version": VERSION, "sources": {item.name: item.key for item in items}}
        config = {"rung": CHECKPOINT, "part": None, "tokens": TOKENS}
        return ResultKey(CHECKPOINT, None, {"stage": STAGE, "config": config, "upstream": None, "extras": facts})

    @cached_property
    def float_model(self) -> FloatModel:
        loaded = self._run.only_output("model_loading", LoadedModel)
        source = model_of(self._env).source
        if self.is_external:
            return FloatModel(source, loaded, self._run.only_output("export", ExportedModel).encodings, None)
        quantized = self._run.only_output("quantization", Quantized)
        return FloatModel(source, loaded, quantized.encodings, quantized)

    def model(self, concurrency: str) -> FloatModel:
        """The float model with a concurrency's adapters, and its text."""
        if not concurrency:
            return self.float_model
        if concurrency not in self._adapted:
            found = concurrencies_of(self._env)
            assert found is not None
            quantized = self._run.only_output("quantization", Quantized)
            self._adapted[concurrency] = FloatModel(
                model_of(self._env).source,
                self._run.only_output("model_loading", LoadedModel),
                quantized.encodings,
                quantized,
                AdaptedModel(found.text(concurrency), partial(float_branches, self._run, concurrency)),
            )
        return self._adapted[concurrency]


def _stage_of(rung: str) -> str:
    return "quantize" if rung in (EMULATOR, DEVICE, *TOKEN_RUNGS) else rung


def _stamps(item: PlannedItem) -> dict[str, list[int]]:
    """Size and modification time of an item's files, by name."""
    if item.entry is None:
        return {}
    stamps: dict[str, list[int]] = {}
    for name in item.entry.files_here():
        status = (Path(item.entry.directory) / name).stat()
        stamps[name] = [status.st_size, status.st_mtime_ns]
    return stamps
