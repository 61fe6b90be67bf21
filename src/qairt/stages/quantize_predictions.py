"""What the quantized parts answer to a few prompts, for people: as JSON lines and as a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.amounts import count
from qairt.errors import GenerationError
from qairt.stages.facts import model_of
from qairt.stages.float_profile.workload import PROMPTS
from qairt.stages.predictions import Prediction

if TYPE_CHECKING:
    from qairt.engine.stage import Batch, Env, OutputContext
    from qairt.runtime.parts import QuantizedPart

FILE, PAGE = "predictions.jsonl", "predictions.md"
_NEW_TOKENS = 48


def write_answers(items: Batch, place: OutputContext) -> None:
    """`predictions.jsonl`: greedy answers of the parts of the longest context length, run in ONNX Runtime on the CPU.

    The prompts are those of `torch_profiler` where the recipe has it. One that does not fit the context is left out.

    Raises:
        GenerationError: none of them fits.
    """
    lines = [answer.model_dump_json() for answer in _answers(items, place)]
    (place.directory / FILE).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_page(predictions: Path, directory: Path) -> None:
    """`predictions.md` from the JSON lines."""
    parts = ["# What the quantized model answers\n"]
    for number, line in enumerate((predictions / FILE).read_text(encoding="utf-8").splitlines(), 1):
        said = Prediction.model_validate_json(line)
        speed = f", {said.tokens_per_s:.1f} tokens/s" if said.tokens_per_s else ""
        took = f"{said.tokens} tokens; prefill {said.prefill_ms:.0f} ms, decode {said.decode_ms:.0f} ms{speed}"
        parts += [f"## Prompt {number}\n", _quoted(said.prompt), "**Answer**\n", _quoted(said.text_clean), f"{took}\n"]
    parts.append("Times are those of ONNX Runtime on this machine's CPU, not of the NPU.\n")
    (directory / PAGE).write_text("\n".join(parts), encoding="utf-8")


def _answers(items: Batch, place: OutputContext) -> Iterator[Prediction]:
    from qairt.model.tokenizer import Tokenizer
    from qairt.runtime.chain import PartChain
    from qairt.runtime.generate import generate

    model = model_of(place.env)
    tokenizer = Tokenizer.open(model.source)
    strip = place.model.prediction.strip_special_tokens
    prompts = _prompts(place.env)
    chain = PartChain(_parts(items), model.config)
    too_long: GenerationError | None = None
    fitted = False
    try:
        for number, prompt in enumerate(prompts):
            place.progress(number / len(prompts), f"answering prompt {number + 1} of {len(prompts)}")
            try:
                answer = generate(
                    chain, tokenizer, prompt, max_new_tokens=_NEW_TOKENS, eos_ids=model.config.eos_token_ids
                )
            except GenerationError as error:
                too_long = error
                continue
            for piece in answer:
                share = min(piece.tokens / _NEW_TOKENS, 1.0)
                place.progress((number + share) / len(prompts), f"answering prompt {number + 1} of {len(prompts)}")
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
                f"none of {count(len(prompts), 'prompt')} fits: {too_long.what}",
                where="stages.torch_profiler.prompts",
                remedy="give shorter ones there, or a longer context in stages.prepare_exports.context_length; qairt "
                "brings some where the recipe gives none",
            )
    finally:
        chain.close()


def _prompts(env: Env) -> tuple[str, ...]:
    config: Any = env.configs.get("torch_profiler")
    return tuple(config.prompts) if config is not None else PROMPTS


def _parts(items: Batch) -> dict[int, list[QuantizedPart]]:
    """The parts of the longest context length, by AR, in order."""
    from qairt.runtime.parts import QuantizedPart, by_length

    outputs: list[Any] = [item.output for item in items.values()]
    found = by_length(QuantizedPart.read(output.quantized_onnx, output.signature) for output in outputs)
    return found[max(found)]


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines() or [""]) + "\n"
