"""Answers of the quantized parts to a few prompts, as JSON lines and as a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import GenerationError
from qairt.files import read_text
from qairt.stages.facts import model_of
from qairt.stages.float_profile.workload import PROMPTS, TorchProfilerConfig
from qairt.stages.predictions import Prediction

if TYPE_CHECKING:
    from qairt.engine.stage import Env, OutputContext
    from qairt.runtime.parts import PartGraph

FILE, PAGE = "predictions.jsonl", "predictions.md"
_MAX_NEW_TOKENS = 48


def write_answers(parts: Iterable[PartGraph], context: OutputContext) -> None:
    """Write `predictions.jsonl`: greedy answers of the parts with the longest context, from ONNX Runtime on the CPU.

    The prompts are those of `torch_profiler` if the recipe has it. Prompts that do not fit the context are skipped.

    Raises:
        GenerationError: no prompt fits.
    """
    lines = [answer.model_dump_json() for answer in _answers(parts, context)]
    (context.directory / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_page(predictions: Path, directory: Path) -> None:
    """Write `predictions.md` from the JSON lines."""
    parts = ["# Answers of the quantized model\n"]
    for number, line in enumerate(read_text(predictions / FILE).splitlines(), 1):
        found = Prediction.model_validate_json(line)
        speed = f", {found.tokens_per_s:.1f} tokens/s" if found.tokens_per_s else ""
        times = f"{found.tokens} tokens; prefill {found.prefill_ms:.0f} ms, decode {found.decode_ms:.0f} ms{speed}"
        prompt, answer = _quoted(found.prompt), _quoted(found.text_clean)
        parts += [f"## Prompt {number}\n", prompt, "**Answer**\n", answer, f"{times}\n"]
    parts.append("Measured with ONNX Runtime on this machine's CPU, not on the NPU.\n")
    (directory / PAGE).write_text("\n".join(parts), encoding="utf-8")


def _answers(parts: Iterable[PartGraph], context: OutputContext) -> Iterator[Prediction]:
    from qairt.model.tokenizer import Tokenizer
    from qairt.runtime.chain import PartChain
    from qairt.runtime.generate import generate
    from qairt.runtime.parts import by_length

    model = model_of(context.env)
    tokenizer = Tokenizer.open(model.source)
    strip = context.model.prediction.strip_special_tokens
    prompts = prompts_of(context.env)
    parts_by_length = by_length(parts)
    chain = PartChain(parts_by_length[max(parts_by_length)], model.config)
    too_long: GenerationError | None = None
    fitted = False
    try:
        for number, prompt in enumerate(prompts):
            context.progress(number / len(prompts), f"answering prompt {number + 1} of {len(prompts)}")
            try:
                answer = generate(
                    chain, tokenizer, prompt, max_new_tokens=_MAX_NEW_TOKENS, eos_ids=model.config.eos_token_ids
                )
            except GenerationError as error:
                too_long = error
                continue
            for piece in answer:
                fraction = min(piece.tokens / _MAX_NEW_TOKENS, 1.0)
                context.progress((number + fraction) / len(prompts), f"answering prompt {number + 1} of {len(prompts)}")
            result = answer.result
            raw = tokenizer.decode(result.tokens, skip_special_tokens=False)
            clean = tokenizer.decode(result.tokens, skip_special_tokens=True) if strip else raw
            fitted = True
            yield Prediction(
                prompt=prompt,
                text_raw=raw,
                text_clean=clean.strip(),
                prefill_ms=round(1000 * result.prefill_s, 3),
                decode_ms=round(1000 * result.decode_s, 3),
                tokens=len(result.tokens),
                tokens_per_s=round(result.tokens_per_second, 3) if result.tokens_per_second else None,
            )
        if too_long is not None and not fitted:
            raise GenerationError(
                f"none of the {len(prompts)} prompts fits: {too_long.what}",
                where="stages.torch_profiler.prompts",
                remedy="set shorter prompts there (without that setting, default prompts are used), or raise "
                "stages.prepare_exports.context_length",
            )
    finally:
        chain.close()


def prompts_of(env: Env) -> tuple[str, ...]:
    """Those of `torch_profiler` if the recipe has it, else the default ones."""
    config = env.configs.get("torch_profiler")
    return tuple(config.prompts) if isinstance(config, TorchProfilerConfig) else PROMPTS


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""]) + "\n"
