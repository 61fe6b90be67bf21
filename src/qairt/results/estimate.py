"""What a chip could do with a model at best: ceilings from the bytes and operations of its graphs.

1. One call of a graph reads every weight of its parts once, and the whole KV cache: graphs have fixed shapes, so the
   cache is read at its full length however full it is. Of the embedding only the rows of the call's tokens are read.
2. Decoding: a call gives one token, so tokens per second are at most bandwidth / bytes of a call.
3. Reading a prompt: a call takes `ar` tokens. It takes at least the time to read its bytes, and at least that of its
   operations (two per weight and token, and attention) at the NPU's published peak.

A ceiling is what no program can exceed. Real runs stay below it; how far, only a device can tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qairt.engine.axes import value_of
from qairt.files import parse_json, read_regular
from qairt.stages.facts import has_model, model_of
from qairt.stages.generate_context_binary import ContextBinary
from qairt.stages.prepare_exports import prepare_config
from qairt.stages.quantization import QuantizationConfig
from qairt.stages.split_model import parts_of
from qairt.toolchain.limits import CONTEXT_BYTES, GRAPH_BYTES
from qairt.toolchain.soc import BLOCK_QUANTIZATION_SINCE, WEIGHT_SHARING_SINCE, Soc

if TYPE_CHECKING:
    from qairt.device.genie_output import Timing
    from qairt.model.config import DecoderConfig
    from qairt.model.parts import Part
    from qairt.quant.config import TechniqueConfig
    from qairt.results.finished import FinishedRun
    from qairt.toolchain.chip_sheet import ChipSheet

_BITS_OF_BLOCKS = 5
"""Of a 4-bit weight with its share of the block scales, and of what the compiler adds: 4.9 for 576 x 1536."""


@dataclass(frozen=True)
class PartSize:
    """A part as it lies in its context binary."""

    name: str
    bytes: int
    read: int
    """Bytes that one call reads of it."""


@dataclass(frozen=True)
class Workload:
    """What the graphs of a recipe ask of a chip."""

    parts: tuple[PartSize, ...]
    measured: bool
    """Sizes are those of the finished binaries; else they follow from the bits of the weights."""
    operations: int
    """Multiplications and additions of the weights for one token."""
    attention: int
    """The same of attention, for one token and one token of context."""
    kv_bytes: int
    """Keys and values of one token, all layers."""
    contexts: tuple[int, ...]
    """Context lengths, ascending."""
    prompt_ar: int
    """Tokens per call that reads a prompt."""
    needs_blocks: bool
    """Has block-quantized (LPBQ) weights."""

    @property
    def weights_read(self) -> int:
        """Bytes of weights that one call reads."""
        return sum(part.read for part in self.parts)

    def call_bytes(self, cl: int) -> int:
        """Bytes that one call reads at context length `cl`."""
        return self.weights_read + self.kv_bytes * cl


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
    """Seconds to read the prompt."""
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


def workload_of(run: FinishedRun) -> Workload:
    """What a recipe's graphs ask of a chip: from its finished binaries, or from its settings.

    Raises:
        QairtError: the model cannot be read, or the settings cannot work.
    """
    env = run.env
    technique: TechniqueConfig | None = env.facts.get("technique")
    config = model_of(env).config if has_model(env) else None
    table = config.vocab_size * config.hidden_size if config else 0
    binaries = _finished_binaries(run)
    parts = [_part_size(part, technique, table, binaries.get(part.index)) for part in parts_of(env)]
    prepared = prepare_config(env)
    linears = sum(part.weight_bytes for part in parts_of(env)) // 4 - table
    return Workload(
        parts=tuple(parts),
        measured=len(binaries) == len(parts),
        operations=2 * linears,
        attention=4 * config.num_layers * config.num_heads * config.head_dim if config else 0,
        kv_bytes=_kv_bytes(config, _kv_bits(run, technique)) if config else 0,
        contexts=tuple(sorted(prepared.context_length)),
        prompt_ar=max(prepared.arn),
        needs_blocks=technique is not None and technique.needs_block_quantization,
    )


def estimate(workload: Workload, soc: Soc, sheet: ChipSheet, *, prompt_tokens: int) -> ChipEstimate:
    """The ceilings of one chip.

    Args:
        prompt_tokens: length of the prompt whose time to the first token is given.
    """
    ceilings = []
    for cl in workload.contexts:
        call_bytes = workload.call_bytes(cl)
        call = _prompt_call(workload, sheet, cl)
        calls = math.ceil(prompt_tokens / workload.prompt_ar)
        ceilings.append(
            Ceiling(
                cl=cl,
                call_bytes=call_bytes,
                decode=sheet.bandwidth / call_bytes if sheet.bandwidth else None,
                prompt=workload.prompt_ar / call if call else None,
                first_token=calls * call if call and prompt_tokens < cl else None,
                dram=sum(part.bytes for part in workload.parts) + workload.kv_bytes * cl,
            )
        )
    return ChipEstimate(soc, sheet, tuple(_obstacles(workload, soc)), tuple(ceilings))


def _prompt_call(workload: Workload, sheet: ChipSheet, cl: int) -> float | None:
    """Seconds of a call that reads `prompt_ar` tokens."""
    if not sheet.bandwidth:
        return None
    reading = workload.call_bytes(cl) / sheet.bandwidth
    if not sheet.tops:
        return reading
    operations = workload.prompt_ar * (workload.operations + workload.attention * cl)
    return max(reading, operations / (sheet.tops * 1e12))


def _obstacles(workload: Workload, soc: Soc) -> list[str]:
    found = []
    if workload.needs_blocks and soc.htp < BLOCK_QUANTIZATION_SINCE:
        found.append(f"HTP v{soc.htp} has no block-quantized (LPBQ) weights: use an 8-bit technique")
    if soc.htp < WEIGHT_SHARING_SINCE:
        found.append(f"HTP v{soc.htp} cannot share weights between graphs")
    largest = max(workload.parts, key=lambda part: part.bytes)
    limit = min(GRAPH_BYTES, CONTEXT_BYTES)
    if largest.bytes > limit:
        found.append(
            f"{largest.name} takes {largest.bytes / 1e9:.2f} GB, a graph at most {limit / 1e9:.2f} GB: raise num_splits"
        )
    return found


def _finished_binaries(run: FinishedRun) -> dict[int, int]:
    """Part -> bytes of its binary, for those that are in the cache."""
    stage = next((planned for planned in run.plan.stages if planned.stage.name == "generate_context_binary"), None)
    sizes = {}
    for item in stage.items if stage is not None else ():
        if item.entry is not None:
            output = run.output(item, ContextBinary)
            sizes[value_of(item.coord, "split", 1)] = output.binary.stat().st_size
    return sizes


def _part_size(part: Part, technique: TechniqueConfig | None, table: int, binary: int | None) -> PartSize:
    """
    Args:
        table: weights of the embedding, and of lm_head.
        binary: bytes of its binary, if it is finished.
    """
    bits = _BITS_OF_BLOCKS if technique is not None and technique.bits == 4 else 8
    tables = table * (part.has_embedding + part.has_head)
    size = binary if binary is not None else tables + (part.weight_bytes // 4 - tables) * bits // 8
    return PartSize(f"part {part.index} of {part.of}", size, size - min(size, table * part.has_embedding))


def _kv_bytes(config: DecoderConfig, bits: int) -> int:
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * bits // 8


def _kv_bits(run: FinishedRun, technique: TechniqueConfig | None) -> int:
    config = run.env.configs.get("quantization")
    kept = config.kv_bitwidth if isinstance(config, QuantizationConfig) else 8
    return (technique.module_precisions.kv_cache if technique is not None else None) or kept


def latest_timing(run: FinishedRun) -> Timing | None:
    """What the device said of its newest answer by `qairt execute`; None if there is none, or it said nothing."""
    from qairt.device.genie_output import Timing

    found = sorted((run.state_folder.parent / "execute").glob("*/*/timing.json"), key=lambda path: path.stat().st_mtime)
    for path in reversed(found):
        try:
            timing = Timing(**parse_json(read_regular(path)))
        except (OSError, ValueError, TypeError):
            continue  # a file of another version, or cut off
        if timing.tokens_per_second is not None:
            return timing
    return None
