"""`qairt generate`."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from qairt.amounts import duration
from qairt.cli.console import say, say_json, styled, tell
from qairt.cli.options import CacheDir, Json, Overrides, Recipe

if TYPE_CHECKING:
    from qairt.results.generation import Target
    from qairt.runtime.generate import Answer, GenerationResult


class TargetName(StrEnum):
    cpu = "cpu"
    torch = "torch"
    htp_emulator = "htp-emulator"
    genie = "genie"


def generate(
    recipe: Recipe,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to say to the model; - reads standard input.")],
    overrides: Overrides = None,
    target: Annotated[
        TargetName,
        typer.Option(
            help="cpu: the quantized graphs in ONNX Runtime. torch: the float model, to compare with. htp-emulator:"
            " the graphs as compiled for the NPU, emulated; seconds a token. genie: the same in the vendor's runtime,"
            " as on a device; slower still, for it reads the prompt token by token."
        ),
    ] = TargetName.cpu,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="Cut the answer off there.")] = 128,
    temperature: Annotated[
        float, typer.Option(metavar="T", min=0.0, help="0 always takes the likeliest token; 0.7 is livelier.")
    ] = 0.0,
    top_k: Annotated[int, typer.Option(metavar="K", min=0, help="Draw from the K likeliest tokens; 0 from all.")] = 0,
    top_p: Annotated[
        float, typer.Option(metavar="P", help="Draw from the likeliest tokens that together reach P.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="The same seed draws the same tokens.")] = 0,
    raw: Annotated[
        bool, typer.Option("--raw", help="Go on from the prompt itself, without the chat template.")
    ] = False,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Answer a prompt with the quantized model.

    A finished run is needed. The answer is streamed to standard output, how long it took to standard error.

    \b
    Examples:
      qairt generate recipe.yaml "What is the capital of France?"
      qairt generate recipe.yaml "Once upon a time" --raw --temperature 0.7
      qairt generate recipe.yaml "Hi" --target htp-emulator --max-new-tokens 4
      qairt generate recipe.yaml "Hi" --target genie --max-new-tokens 4
    """
    from qairt.cli.recipe_argument import open_pipeline

    pipeline = open_pipeline(recipe, overrides, cache_dir)
    text = sys.stdin.read() if prompt == "-" else prompt
    from qairt.runtime.sampling import Sampling

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    chat = False if raw else None
    if target is TargetName.genie:
        with pipeline.genie_model().answer(
            text, sampling, max_new_tokens=max_new_tokens, chat=chat, notify=tell
        ) as from_genie:
            result = from_genie.result if as_json else stream(from_genie)
    else:
        with pipeline.generator(cast("Target", target.value), tell) as generator:
            answer = pipeline.generate(generator, text, sampling, max_new_tokens=max_new_tokens, chat=chat)
            result = answer.result if as_json else stream(answer)
    if as_json:
        say_json(result.model_dump(mode="json") | {"target": target.value})
    else:
        tell(styled(summary(result), "dim", stream=sys.stderr))


def stream(answer: Answer) -> GenerationResult:
    """Print pieces as they come."""
    for piece in answer:
        say(piece.text, end="")
    say()
    return answer.result


def summary(result: Any) -> str:
    """`36 prompt tokens in 1.2 s (0.8 s of it opening graphs), 9 tokens at 4.1 a second`."""
    first = f"{result.prompt_tokens} prompt tokens in {duration(result.prefill_s)}"
    loading = f", opening graphs {duration(result.load_s)}" if result.load_s >= 0.05 else ""
    speed = f" at {result.tokens_per_second:.2f} a second" if result.tokens_per_second else ""
    why = {"max_new_tokens": " (cut off: --max-new-tokens)", "context": " (cut off: the context is full)"}
    return f"{first}{loading}, {len(result.tokens)} tokens{speed}{why.get(result.stop_reason, '')}"
