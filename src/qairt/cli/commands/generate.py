"""`qairt generate`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from qairt.cli.console import emit, emit_json, report, styled
from qairt.cli.failures import as_data, report_failure, report_note
from qairt.cli.options import (
    ActiveAdapters,
    CacheDir,
    Concurrency,
    GenerateTarget,
    Json,
    Overrides,
    Recipe,
    Strengths,
    active_adapters,
)
from qairt.errors import QairtError, RecipeError
from qairt.recipe.configs import BASE

if TYPE_CHECKING:
    from qairt.llm import LLMPipeline
    from qairt.runtime.generate import Answer, GenerationResult, Resumable


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are chosen, and how many."""

    max_new_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="The most tokens to generate.")] = 128
    temperature: Annotated[
        float, typer.Option(metavar="T", min=0.0, help="0 always takes the most likely token; 0.7 varies more.")
    ] = 0.0
    top_k: Annotated[
        int, typer.Option(metavar="K", min=0, help="Sample from the K most likely tokens; 0 from all.")
    ] = 0
    top_p: Annotated[
        float, typer.Option(metavar="P", help="Sample from the most likely tokens that together reach probability P.")
    ] = 1.0
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="The same seed samples the same tokens.")] = 0
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompt as it is, without the chat template.")] = False


@dataclass(frozen=True)
class StateFiles:
    """Where the tokens that were read come from and go to."""

    save_state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write what was read, for prompts that begin the same.", show_default=False),
    ] = None
    load_state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Do not read again what FILE holds of the prompt.", show_default=False),
    ] = None

    def require_possible(self, target: GenerateTarget) -> None:
        """
        Raises:
            RecipeError: the target has no state that a file can hold, or the file cannot be written.
        """
        given = "--save-state" if self.save_state is not None else "--load-state"
        if (self.save_state or self.load_state) is not None and target not in ("cpu", "htp-emulator"):
            raise RecipeError(
                f"target {target} has no state to save or load",
                where=given,
                remedy="use --target cpu; Genie saves a conversation with run_genie.sh --save in a bundle",
            )
        if self.save_state is not None and (self.save_state.is_dir() or not self.save_state.absolute().parent.is_dir()):
            raise RecipeError(
                f"{self.save_state} is a folder, or in a folder that does not exist",
                where="--save-state",
                remedy="give the name of a file in an existing folder",
            )


def generate(
    recipe: Recipe,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="The prompt; - reads standard input.")],
    overrides: Overrides = None,
    *,
    target: Annotated[
        GenerateTarget,
        typer.Option(
            help="cpu: the quantized graphs in ONNX Runtime. torch: the float model. htp-emulator: the graphs compiled"
            " for the NPU, emulated; seconds per token. genie: the same in the vendor's runtime, as on a device; slower"
            " still, since it reads the prompt token by token."
        ),
    ] = "cpu",
    sampling: SamplingOptions,
    concurrency: Concurrency = BASE,
    strength: Strengths = None,
    states: StateFiles,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Answer a prompt with the quantized model.

    Needs a finished run. The answer is streamed to standard output; its timing goes to standard error. A state is a
    file with what was read: a prompt that begins with the same text answers sooner, with the same tokens.

    \b
    Examples:
      qairt generate recipe.yaml "What is the capital of France?"
      qairt generate recipe.yaml "Once upon a time" --raw --temperature 0.7
      qairt generate recipe.yaml "Hi" --target htp-emulator --max-new-tokens 4
      qairt generate recipe.yaml "Hi" --target genie --max-new-tokens 4
      qairt generate recipe.yaml "Hi" --concurrency french --strength french=0.5
      qairt generate recipe.yaml - --save-state manual.state < one.txt
      qairt generate recipe.yaml - --load-state manual.state < other.txt
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.prompts import prompt_and_overrides

    given, overrides = prompt_and_overrides([prompt, *(overrides or ())])
    assert given is not None
    pipeline = open_pipeline(recipe, overrides, cache_dir)
    text = sys.stdin.read() if given == "-" else given
    active = active_adapters(concurrency, strength)
    states.require_possible(target)

    about = {"target": target, **asdict(active)}
    _answer(pipeline, text, target, sampling, active, states, _Telling(states, about, as_json))


@dataclass(frozen=True)
class _Telling:
    """Prints an answer."""

    states: StateFiles
    about: Mapping[str, object]
    """What JSON says besides the answer."""
    as_json: bool

    def __call__(self, answer: Answer, save: Callable[[], None]) -> None:
        """Print it while it is generated; then save the state, and an answer stays told if that fails."""
        result = answer.result if self.as_json else _streamed(answer)
        if not self.as_json:
            report(styled(summary(result), "dim", stream=sys.stderr))
        if self.states.load_state is not None and not result.reused_tokens:
            report_note(
                f"nothing of {self.states.load_state} was reused: the prompt begins with other tokens, or (in a model"
                " with short convolutions or windows) not with all tokens of the state"
            )
        if not self.as_json:
            save()
            return
        data = {**result.model_dump(mode="json"), **self.about}
        try:
            save()
        except QairtError as error:
            emit_json(data | {"error": as_data(error)})
            report_failure(error)
            raise typer.Exit(error.exit_code) from error
        emit_json(data)


def _answer(
    pipeline: LLMPipeline,
    text: str,
    target: GenerateTarget,
    options: SamplingOptions,
    active: ActiveAdapters,
    states: StateFiles,
    tell: _Telling,
) -> None:
    """Have the answer told while it is generated, and the state saved then."""
    from qairt.runtime.sampling import Sampling

    sampling = Sampling(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p, seed=options.seed)
    most, chat = options.max_new_tokens, False if options.raw else None
    if target == "genie":
        model = pipeline.genie_model(active.concurrency, active.strengths)
        with model.answer(text, sampling, max_new_tokens=most, chat=chat, notify=report) as from_genie:
            tell(from_genie, lambda: None)
        return
    with pipeline.generator(target, report, concurrency=active.concurrency, strengths=active.strengths) as generator:
        if states.load_state is not None:
            pipeline.load_state(cast("Resumable", generator), states.load_state, **asdict(active))
        path, resumable = states.save_state, cast("Resumable", generator)
        tell(
            pipeline.answer(generator, text, sampling, max_new_tokens=most, chat=chat),
            lambda: pipeline.save_state(resumable, path, **asdict(active)) if path is not None else None,
        )


def _streamed(answer: Answer) -> GenerationResult:
    for piece in answer:
        emit(piece.text, end="")
    emit()
    return answer.result


def summary(result: GenerationResult) -> str:
    """`36 prompt tokens in 1.2 s, opening graphs 0.8 s, 9 tokens at 4.1 per second`."""
    from qairt.amounts import count, duration

    held = f" ({result.reused_tokens} of them saved)" if result.reused_tokens else ""
    first = f"{count(result.prompt_tokens, 'prompt token')}{held} in {duration(result.prefill_s)}"
    loading = f", opening graphs {duration(result.load_s)}" if result.load_s >= 0.05 else ""
    speed = f" at {result.tokens_per_second:.2f} per second" if result.tokens_per_second else ""
    why = {"max_new_tokens": " (stopped: --max-new-tokens)", "context": " (stopped: the context is full)"}
    return f"{first}{loading}, {count(len(result.tokens), 'token')}{speed}{why.get(result.stop_reason, '')}"
