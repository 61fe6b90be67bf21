"""What a chip could do with a model at best: ceilings from the bytes and operations of its graphs.

1. One call of a graph reads every weight of its parts once, and the whole KV cache: graphs have fixed shapes, so the
   cache is read at its full length however full it is; that of a layer with an attention window is no longer than the
   window. Of the embedding only the rows of the call's tokens are read. Of a mixture of experts all are read, since a
   graph computes them all.
2. Weights count with the fewest bits that the recipe can give them, without scales. The size of a binary would count
   too much: it holds the instructions of every graph, of which a call reads one graph's.
3. A call takes at least the time to read its bytes, and at least that of its operations (two per weight and token, and
   attention) at the NPU's published peak. It gives one token, or reads `ar` tokens of a prompt; the tokens of a prompt
   that do not fill a call count without padding, since a shorter AR may read them.

A ceiling is what no program can exceed. Real runs stay below it; how far, only a device can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qairt.engine.axes import value_of
from qairt.errors import QairtError
from qairt.files import parse_json, read_regular
from qairt.model.kept import kept_slots
from qairt.quant.config import ModulePrecisions
from qairt.stages.facts import has_model, model_of, soc_of
from qairt.stages.prepare_exports import is_embedding, prepare_config
from qairt.stages.quantization import QuantizationConfig
from qairt.stages.split_model import parts_of
from qairt.toolchain.base import BINARY_SUFFIX
from qairt.toolchain.chip_sheet import ChipSheet, sheet_of
from qairt.toolchain.limits import bits_per_weight, least_bits_of_head, least_bits_of_layers, part_limit
from qairt.toolchain.soc import BLOCK_QUANTIZATION_SINCE, WEIGHT_SHARING_SINCE, Soc

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qairt.device.genie_output import Timing
    from qairt.engine.env import Env
    from qairt.engine.pipeline import Pipeline
    from qairt.engine.plan.planned import Plan, StagePlan
    from qairt.model.config import DecoderConfig
    from qairt.model.parts import Part
    from qairt.quant.config import TechniqueConfig

PROMPT_TOKENS = 256
"""Length of the prompt whose time to the first token is given."""


@dataclass(frozen=True)
class PartSize:
    """A part as it lies in its context binary."""

    name: str
    bytes: int
    read: int
    """Bytes of weights that one call must read of it."""


@dataclass(frozen=True)
class ContextLength:
    """A context length of the graphs."""

    cl: int
    slots: int
    """Tokens in the KV cache, summed over the layers: a layer with a window keeps no more than that."""


@dataclass(frozen=True)
class Workload:
    """What the graphs of a recipe ask of a chip."""

    parts: tuple[PartSize, ...]
    measured: bool
    """The parts' bytes are those of the finished binaries; else they follow from the bits of the weights."""
    operations: int
    """Multiplications and additions of the weights for one token."""
    attention: int
    """The same of attention in one layer, for one token and one token in the KV cache."""
    kv_bytes: int
    """Keys and values of one token in one layer."""
    contexts: tuple[ContextLength, ...]
    """Ascending."""
    prompt_ar: int
    """Tokens per call that reads a prompt."""
    needs_blocks: bool
    """Has block-quantized (LPBQ) weights."""
    experts: tuple[int, int] | None = None
    """How many a token is given to, and how many each layer has; None without."""
    idle_expert_bytes: int = 0
    """Of the weights that a call must read, those of experts which its token is not given to."""

    @property
    def weights_read(self) -> int:
        """Bytes of weights that one call must read."""
        return sum(part.read for part in self.parts)

    def cache_bytes(self, context: ContextLength) -> int:
        """Bytes of keys and values."""
        return self.kv_bytes * context.slots

    def call_bytes(self, context: ContextLength) -> int:
        """Bytes that one call must read."""
        return self.weights_read + self.cache_bytes(context)


@dataclass(frozen=True)
class Ceiling:
    """The best a chip could do at one context length; None where its figures are not published."""

    cl: int
    call_bytes: int
    decode: float | None
    """Tokens per second."""
    prompt: float | None
    """Tokens per second while reading a prompt."""
    first_token: float | None
    """Seconds to read the prompt; None also where the context has no room for it and a token more."""
    dram: int
    """Bytes of all binaries and one KV cache."""


@dataclass(frozen=True)
class ChipEstimate:
    """One chip."""

    soc: Soc
    sheet: ChipSheet
    obstacles: tuple[str, ...]
    """Why the binaries cannot run there; empty if they fit."""
    ceilings: tuple[Ceiling, ...]
    """By context length."""


@dataclass(frozen=True)
class AtMost:
    """What the chip of a recipe could do with its model."""

    workload: Workload
    chip: ChipEstimate
    measured: Timing | None
    """Of the newest answer on a device."""


def at_most(env: Env, plan: Plan, state_folder: Path) -> AtMost | None:
    """None where there is nothing to tell: the recipe makes no context binaries, starts from an ONNX graph, or is of an
    embedding model, which generates no tokens.

    Args:
        plan: of the stages in `env`, checked.
        state_folder: of the recipe's cache.
    """
    if _binaries(plan) is None or not has_model(env) or is_embedding(env):
        return None
    workload, soc = workload_of(env, plan), soc_of(env)
    chip = estimate(workload, soc, sheet_of(soc.name), prompt_tokens=PROMPT_TOKENS)
    return AtMost(workload, chip, latest_timing(state_folder))


def at_most_of(pipeline: Pipeline, *, plan_finished: Callable[[], tuple[Env, Plan]] | None = None) -> AtMost | None:
    """The same for a pipeline with what it has finished; also None where its settings cannot work now.

    Args:
        plan_finished: the pipeline's own, where the plan is used again.
    """
    if "generate_context_binary" not in pipeline.stage_names():
        return None
    try:
        env, plan = (plan_finished or pipeline.plan_finished)()
    except QairtError:
        return None
    return at_most(env, plan, pipeline.state_folder)


def workload_of(env: Env, plan: Plan) -> Workload:
    """What a recipe's graphs ask of a chip: from its finished binaries, or from its settings.

    Raises:
        QairtError: the model cannot be read, or the settings cannot work.
    """
    technique: TechniqueConfig | None = env.facts.get("technique")
    config = model_of(env).config if has_model(env) else None
    binaries = _finished_binaries(plan)
    parts = [_part_size(part, technique, binaries.get(part.index)) for part in parts_of(env)]
    prepared = prepare_config(env)
    return Workload(
        parts=tuple(parts),
        measured=len(binaries) == len(parts),
        operations=2 * sum(part.weight_bytes - part.embedding_bytes for part in parts_of(env)) // 4,
        attention=4 * config.num_heads * config.head_dim if config else 0,
        kv_bytes=2 * config.num_kv_heads * config.head_dim * _kv_bits(env, technique) // 8 if config else 0,
        contexts=tuple(ContextLength(cl, _slots(config, cl)) for cl in sorted(prepared.context_length)),
        prompt_ar=max(prepared.arn),
        needs_blocks=technique is not None and technique.needs_block_quantization,
        experts=None if config is None or config.experts is None else (config.experts.chosen, config.experts.count),
        idle_expert_bytes=_idle_expert_bytes(config, technique),
    )


def _idle_expert_bytes(config: DecoderConfig | None, technique: TechniqueConfig | None) -> int:
    """See `Workload`."""
    if config is None or config.experts is None:
        return 0
    one = 3 * config.hidden_size * config.experts.width
    idle = config.num_layers * (config.experts.count - config.experts.chosen)
    return idle * one * least_bits_of_layers(technique) // 8


def estimate(workload: Workload, soc: Soc, sheet: ChipSheet, *, prompt_tokens: int) -> ChipEstimate:
    """The ceilings of one chip.

    Args:
        prompt_tokens: length of the prompt whose time to the first token is given.
    """
    ceilings = []
    for context in workload.contexts:
        step, call = (_seconds(workload, sheet, context, tokens=tokens) for tokens in (1, workload.prompt_ar))
        prompt = _seconds(
            workload, sheet, context, tokens=prompt_tokens, calls=math.ceil(prompt_tokens / workload.prompt_ar)
        )
        ceilings.append(
            Ceiling(
                cl=context.cl,
                call_bytes=workload.call_bytes(context),
                decode=1 / step if step else None,
                prompt=workload.prompt_ar / call if call else None,
                first_token=prompt if prompt_tokens < context.cl else None,
                dram=sum(part.bytes for part in workload.parts) + workload.cache_bytes(context),
            )
        )
    return ChipEstimate(soc, sheet, tuple(_obstacles(workload, soc)), tuple(ceilings))


def _seconds(
    workload: Workload, sheet: ChipSheet, context: ContextLength, *, tokens: int, calls: int = 1
) -> float | None:
    """The least that so many tokens take, read in so many calls; None where the chip's bandwidth is not published."""
    if not sheet.bandwidth:
        return None
    reading = calls * workload.call_bytes(context) / sheet.bandwidth
    if not sheet.tops:
        return reading
    operations = tokens * (workload.operations + workload.attention * context.slots)
    return max(reading, operations / (sheet.tops * 1e12))


def _obstacles(workload: Workload, soc: Soc) -> list[str]:
    found = []
    if workload.needs_blocks and soc.htp < BLOCK_QUANTIZATION_SINCE:
        found.append(f"HTP v{soc.htp} has no block-quantized (LPBQ) weights: use an 8-bit technique")
    if soc.htp < WEIGHT_SHARING_SINCE:
        found.append(f"HTP v{soc.htp} cannot share weights between graphs")
    largest = max(workload.parts, key=lambda part: part.bytes)
    limit = part_limit()
    if largest.bytes > limit:
        found.append(
            f"{largest.name} takes {largest.bytes / 1e9:.2f} GB, a graph at most {limit / 1e9:.2f} GB: raise num_splits"
        )
    return found


def _binaries(plan: Plan) -> StagePlan | None:
    return next((planned for planned in plan.stages if planned.stage.name == "generate_context_binary"), None)


def _finished_binaries(plan: Plan) -> dict[int, int]:
    """Part -> bytes of its binary, for those that are in the cache."""
    stage = _binaries(plan)
    return {
        value_of(item.coord, "split", 1): sum(
            file["size"] for name, file in item.entry.files.items() if name.endswith(BINARY_SUFFIX)
        )
        for item in (stage.items if stage is not None else ())
        if item.entry is not None
    }


def _part_size(part: Part, technique: TechniqueConfig | None, binary: int | None) -> PartSize:
    """
    Args:
        binary: bytes of its binary, if it is finished.
    """
    precisions = technique.module_precisions if technique is not None else ModulePrecisions()
    embedding, head = part.embedding_bytes // 4 * precisions.embedding // 8, part.head_bytes // 4
    layers = (part.weight_bytes - part.embedding_bytes - part.head_bytes) // 4
    size = embedding + (head * precisions.lm_head + layers * bits_per_weight(technique)) // 8
    read = (head * least_bits_of_head(technique) + layers * least_bits_of_layers(technique)) // 8
    return PartSize(f"part {part.index} of {part.of}", size if binary is None else binary, read)


def _slots(config: DecoderConfig | None, cl: int) -> int:
    if config is None:
        return 0
    layers = [layer for layer in range(config.num_layers) if not config.is_convolution(layer)]
    return sum(kept_slots(config, layer, 1, cl) + 1 for layer in layers)


def _kv_bits(env: Env, technique: TechniqueConfig | None) -> int:
    config = env.configs.get("quantization")
    kept = config.kv_bitwidth if isinstance(config, QuantizationConfig) else 8
    return (technique.module_precisions.kv_cache if technique is not None else None) or kept


def latest_timing(state_folder: Path) -> Timing | None:
    """What the device said of its newest answer by `qairt execute`; None if there is none, or it said nothing."""
    from qairt.device.genie_output import Timing

    found = sorted((state_folder.parent / "execute").glob("*/*/timing.json"), key=lambda path: path.stat().st_mtime)
    for path in reversed(found):
        try:
            timing = Timing(**parse_json(read_regular(path)))
        except (OSError, ValueError, TypeError):
            continue  # a file of another version, or cut off
        if timing.tokens_per_second is not None:
            return timing
    return None
