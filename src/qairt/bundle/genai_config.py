"""`genai_config.json`: onnxruntime-genai's description of the parts as one decoder.

Source: `src/config.h`, `decoder_only_pipeline.cpp` and `windowed_kv_cache.cpp` of onnxruntime-genai 0.16. Its
`decoder-pipeline` reads a prompt in windows of one AR and continues with AR 1; its cache holds 8-bit keys and values in
our shapes, right-aligned. Versions 0.15 and 0.16 give the same tokens as our own chain; from 0.17 on, pipelines use
another cache, which rejects these shapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from qairt.bundle.contents import PlacedGraph
from qairt.bundle.windows import require_one_kind
from qairt.errors import ModelError, RecipeError
from qairt.graph.tensors import TensorSpec
from qairt.model.config import DecoderConfig
from qairt.model.names import PAST
from qairt.model.tokenizer import Tokenizer

NAME = "genai_config.json"
POSITIONS, LOGITS = "positions.onnx", "logits.onnx"
"""The graphs on the CPU, see `genai_graphs`."""
ADAPTER = "lora/base.onnx"
"""The graph of LoRA values, those of the base: `run_ort.py` puts a concurrency's in its place when it loads."""
POSITION_IDS, TOKEN_MASK, LOGITS_FLOAT = "position_ids", "token_mask", "logits_float"
NPU = {"provider_options": [{"QNN": {"backend_type": "htp", "htp_performance_mode": "burst"}}]}
RUNS_WITH = ">=0.15,<0.17"
"""Supported versions of onnxruntime-genai."""
CPU: dict[str, object] = {"provider_options": []}
EXACT = CPU | {"session.disable_quant_qdq": "1"}
"""For quantized ONNX, computed literally: ONNX Runtime's integer kernels would round activations to 8 bits."""
COMPUTED = ("attention_mask", "position_ids_cos", "position_ids_sin")


def genai_config(
    config: DecoderConfig,
    chains: Mapping[int, Sequence[PlacedGraph]],
    *,
    context_size: int,
    pad_token: int,
    on_npu: bool,
    branches: Sequence[str] = (),
) -> dict[str, object]:
    """The configuration of one model, as JSON.

    Args:
        config: the model in the parts.
        chains: the graphs of `context_size` by AR, in the order they run; the largest AR reads prompts.
        pad_token: see `pad_token`.
        on_npu: whether the parts are context binaries, or run on the CPU.
        branches: the inputs of LoRA branches.

    Raises:
        RecipeError: there is no AR 1, or no larger one.
        ModelError: keys and values do not have 8 bits, or layers have windows that the context exceeds.
    """
    require_one_kind(config, context_size=context_size, program="onnxruntime-genai")
    window = require_ars(chains, context_size)
    first = next(spec for graph in chains[1] for spec in graph.signature.inputs if PAST.match(spec.name))
    _require_8_bits(first)
    eos = list(config.eos_token_ids)
    return {
        "model": {
            "type": "decoder-pipeline",
            "bos_token_id": config.bos_token_id if config.bos_token_id is not None else eos[0],
            "eos_token_id": eos[0] if len(eos) == 1 else eos,
            "pad_token_id": pad_token,
            "vocab_size": config.vocab_size,
            "context_length": context_size,
            "decoder": {
                "session_options": {"log_id": "onnxruntime-genai", **CPU},
                "hidden_size": config.hidden_size,
                "head_size": config.head_dim,
                "num_attention_heads": config.num_heads,
                "num_hidden_layers": config.num_layers,
                "num_key_value_heads": config.num_kv_heads,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": TOKEN_MASK,
                    "position_ids": POSITION_IDS,
                    "past_key_names": "past_key_%d_in",
                    "past_value_names": "past_value_%d_in",
                },
                "outputs": {
                    "logits": LOGITS_FLOAT,
                    "present_key_names": "past_key_%d_out",
                    "present_value_names": "past_value_%d_out",
                },
                "sliding_window": {"window_size": window, "pad_value": -(first.offset or 0), "alignment": "right"},
                "pipeline": [dict(_stages(chains, window, on_npu, branches))],
            },
        },
        "search": {"do_sample": False, "max_length": context_size, "num_beams": 1, "past_present_share_buffer": False},
    }


def _never_in_text(tokenizer: Tokenizer) -> Sequence[str]:
    """The tokens of bytes that UTF-8 does not use."""
    numbers = (0xC0, 0xC1, *range(0xF5, 0x100))
    byte_level = type(tokenizer.fast.decoder).__name__ == "ByteLevel"
    return [chr(number) if byte_level else f"<0x{number:02X}>" for number in numbers]


def pad_token(tokenizer: Tokenizer, config: DecoderConfig) -> int:
    """A token that no prompt contains: onnxruntime-genai masks it wherever it occurs.

    The tokenizer's own if it does not begin or end texts; else a token without text; else a special token that the chat
    template does not contain; else that of a byte that no text has.

    Raises:
        ModelError: there is none.
    """
    taken = {*config.eos_token_ids, config.bos_token_id}
    template = tokenizer.chat_template or ""
    own = tokenizer.special_token("pad_token")
    texts = tokenizer.fast.get_vocab(with_added_tokens=True)
    added = sorted(tokenizer.fast.get_added_tokens_decoder().items(), reverse=True)
    candidates = [
        *([texts[own]] if own is not None and own in texts and own not in template else []),
        *range(config.vocab_size - 1, max(texts.values(), default=-1), -1),
        *(token for token, each in added if each.special and each.content not in template),
        *(texts[text] for text in _never_in_text(tokenizer) if text in texts),
    ]
    found = next((token for token in candidates if token not in taken and token < config.vocab_size), None)
    if found is None:
        raise ModelError(
            "the tokenizer has no padding token that cannot occur in a prompt",
            where="tokenizer",
            remedy="set pad_token in the model's tokenizer_config.json to a token that prompts do not contain",
        )
    return int(found)


def require_ars(ars: Iterable[int], context_size: int) -> int:
    """The AR that reads prompts.

    Raises:
        RecipeError: onnxruntime-genai needs AR 1 and a larger one, of at most half the context.
    """
    found = sorted(set(ars))
    if 1 not in found or len(found) < 2:
        raise RecipeError(
            f"onnxruntime-genai needs one AR for prompts and AR 1 for decoding; the graphs have AR "
            f"{', '.join(map(str, found))}",
            where="stages.prepare_exports.arn",
            remedy="set arn to [1, 128], or export_bundle.format to genie",
        )
    if found[-1] * 2 > context_size:
        raise RecipeError(
            f"onnxruntime-genai would read prompts with AR {found[-1]}, more than half the context of {context_size}",
            where="stages.prepare_exports.arn",
            remedy=f"set arn to [1, {context_size // 2}] or less, or export_bundle.format to genie",
        )
    return found[-1]


def _require_8_bits(spec: TensorSpec) -> None:
    if spec.dtype != "uint8":
        raise ModelError(
            f"onnxruntime-genai stores keys and values as uint8, {spec.name} is {spec.dtype}",
            where="stages.quantization",
            remedy="quantize keys and values to 8 bits, or set export_bundle.format to genie",
        )


def _stages(
    chains: Mapping[int, Sequence[PlacedGraph]], window: int, on_npu: bool, branches: Sequence[str]
) -> list[tuple[str, dict[str, object]]]:
    """The pipeline in the order it runs: LoRA values, positions, the prompt's parts, the parts of AR 1, logits."""
    around = {"session_options": CPU}
    first: dict[str, object] = {
        "filename": POSITIONS,
        "inputs": [POSITION_IDS, TOKEN_MASK],
        "outputs": list(COMPUTED),
        **around,
    }
    adapter: dict[str, object] = {"filename": ADAPTER, "inputs": [], "outputs": [*branches], **around}
    stages: list[tuple[str, dict[str, object]]] = [("adapter", adapter)] if branches else []
    stages.append(("positions", first))
    for ar, phase in ((window, "prompt"), (1, "token")):
        for graph in chains[ar]:
            stage: dict[str, object] = {
                "filename": graph.file,
                "inputs": [spec.name for spec in graph.signature.inputs],
                "outputs": [spec.name for spec in graph.signature.outputs],
                "session_options": NPU if on_npu else EXACT,
                "run_on_prompt": phase == "prompt",
                "run_on_token_gen": phase == "token",
            }
            stages.append((f"{phase}_{graph.signature.part}_of_{graph.signature.of}", stage))
    stages.append(("logits", {"filename": LOGITS, "inputs": ["logits"], "outputs": [LOGITS_FLOAT], **around}))
    return stages
