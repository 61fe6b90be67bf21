"""A finished run's model in Genie on this machine: its configuration, its tokenizer, its binaries."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.errors import GenerationError, ModelError, RecipeError
from qairt.notify import Notify
from qairt.recipe.configs import BASE
from qairt.results.concurrency import require_concurrency
from qairt.results.finished import FinishedRun
from qairt.results.genie_adapters import GenieAdapters
from qairt.results.genie_binaries import GenieBinaries
from qairt.stages.prepare_exports import prepare_config
from qairt.stages.split_model import parts_of

if TYPE_CHECKING:
    from qairt.bundle.genie_config import GenieLora
    from qairt.model.config import DecoderConfig
    from qairt.model.parts import Part
    from qairt.model.tokenizer import Tokenizer
    from qairt.results.generation import Prompt
    from qairt.runtime.genie import GenieAnswer
    from qairt.runtime.sampling import Sampling
    from qairt.toolchain.genie.dialog import Dialog

LARGEST_SEED = (1 << 31) - 1


@dataclass(frozen=True)
class GenieModel:
    """What a dialog needs; nothing is compiled or started before it is used."""

    config: DecoderConfig
    tokenizer: Tokenizer
    tokenizer_file: Path
    binaries: GenieBinaries
    parts: Sequence[Part]
    context_length: int
    adapters: GenieAdapters | None = None
    """None if the graphs have no LoRA branches."""

    @cached_property
    def seconds_per_token(self) -> float:
        """An estimate, before anything was measured."""
        from qairt.runtime.genie_cost import seconds_per_token

        return seconds_per_token(self.parts)

    def require_runnable(self) -> None:
        """
        Raises:
            ModelError: Genie cannot run the model.
        """
        from qairt.bundle.compose import require_runnable

        try:
            require_runnable(self.config, "genie", context_size=self.context_length)
        except ModelError as error:
            remedy = "use --target cpu or --target htp-emulator, which run every model"
            raise ModelError(error.what, where=error.where, remedy=remedy) from error

    @contextmanager
    def dialog(self, notify: Notify, sampling: Sampling | None = None, *, endless: bool = False) -> Iterator[Dialog]:
        """Genie with the model, in its own process; missing binaries are compiled first. With LoRA, the concurrency of
        this model is applied, and `Dialog.apply` switches to the others.

        Args:
            sampling: greedy when None.
            endless: no token ends an answer.

        Raises:
            ToolchainNotAvailable: the installed wheel has no Genie.
            ModelError: Genie cannot run the model.
            ItemFailed: a binary cannot be compiled.
            ToolchainError: Genie refused the model; quotes its message.
        """
        from qairt.toolchain.genie import dialog as genie

        genie.require()
        self.require_runnable()
        binaries = self.binaries.build(notify)
        with ExitStack() as stack:
            lora = stack.enter_context(self.adapters.written()) if self.adapters is not None else None
            config = self.genie_config(binaries, sampling, endless=endless, lora=lora)
            opened = stack.enter_context(genie.Dialog(config, strengths=lora.strengths if lora is not None else None))
            if self.adapters is not None:
                opened.apply(self.adapters.first)
            yield opened

    @contextmanager
    def answer(
        self, prompt: Prompt, sampling: Sampling | None, *, max_new_tokens: int, chat: bool | None, notify: Notify
    ) -> Iterator[GenieAnswer]:
        """The answer to a prompt, which is checked before anything is compiled; see `qairt.runtime.generate.generate`.

        Raises:
            GenerationError: the prompt is empty or does not fit the context, or Genie tokenizes it differently.
            QairtError: see `dialog`.
        """
        from qairt.runtime.generate import prompt_text
        from qairt.runtime.generator import require_known
        from qairt.runtime.genie import GenieAnswer, require_same_tokens
        from qairt.runtime.genie_cost import genie_cost
        from qairt.toolchain.genie import dialog as genie

        genie.require()
        self.require_runnable()
        if max_new_tokens < 1:
            raise GenerationError(f"{max_new_tokens} is out of range", where="max_new_tokens", remedy="use 1 or more")
        if sampling is not None and sampling.seed > LARGEST_SEED:
            raise GenerationError(f"{sampling.seed} is out of range", where="seed", remedy=f"use 0 to {LARGEST_SEED}")
        text, is_bare = prompt_text(self.tokenizer, prompt, chat=chat)
        if "\0" in text:
            raise GenerationError(
                "it contains a NUL character, which Genie takes for the end of the text",
                where="prompt",
                remedy="remove it, or use --target cpu",
            )
        ids = self.tokenizer.encode(text, add_special_tokens=is_bare)
        require_known(ids, self.config.vocab_size)
        new = min(max_new_tokens, genie.room_after(len(ids), self.context_length))
        notify(genie_cost(self.seconds_per_token, len(ids), new))
        with self.dialog(notify, sampling) as dialog:
            require_same_tokens(self.tokenizer.encode(text), dialog.encode(text))
            yield GenieAnswer(
                dialog,
                self.tokenizer,
                ids,
                max_new_tokens,
                self.config.eos_token_ids,
                expected_s=self.seconds_per_token,
                notify=notify,
            )

    def genie_config(
        self,
        binaries: Sequence[Path],
        sampling: Sampling | None = None,
        *,
        endless: bool = False,
        lora: GenieLora | None = None,
    ) -> dict[str, object]:
        """The `genie_config.json` of a dialog on this machine."""
        from qairt.bundle.genie_config import GenieFiles, GenieHost, genie_config

        threads = min(os.cpu_count() or 1, 8)
        return genie_config(
            self.config,
            context_size=self.context_length,
            files=GenieFiles([str(path) for path in binaries], str(self.tokenizer_file), lora=lora),
            host=GenieHost(threads, cpu_mask=hex((1 << threads) - 1), poll=False),
            sampling=sampling,
            adds_bos=False,  # prompts contain it
            stops=not endless,
        )


def genie_model(run: FinishedRun, concurrency: str = BASE, *, starts_short: bool = True) -> GenieModel:
    """The model at the context length that the recipe generates with; raises what `GenieBinaries` does too.

    Args:
        concurrency: of LoRA adapters, by its name in the recipe.
        starts_short: Genie begins with the graphs of the recipe's shorter context lengths.

    Raises:
        RecipeError: no graph has that context length, or there is no such concurrency.
    """
    run.require_generating()
    adapted = require_concurrency(run, concurrency) is not None
    config, tokenizer = run.config, run.tokenizer
    lengths = prepare_config(run.env).context_length
    wanted = run.context_length or max(lengths)
    if wanted not in lengths:
        raise RecipeError(
            f"no graph has context length {wanted}",
            where="generator.context_length",
            remedy=f"the recipe builds {', '.join(map(str, lengths))}",
        )
    used = [length for length in lengths if length == wanted or (starts_short and length < wanted)]
    adapters = GenieAdapters(run, concurrency) if adapted else None
    return GenieModel(
        config, tokenizer, run.tokenizer_file, GenieBinaries(run, used), parts_of(run.env), wanted, adapters
    )
