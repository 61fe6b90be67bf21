"""A plan's model in Genie on this machine: its configuration, its tokenizer, its binaries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qairt.errors import GenerationError, RecipeError
from qairt.results.genie_binaries import GenieBinaries
from qairt.stages.facts import settings_of
from qairt.stages.prepare_exports import prepare_config
from qairt.stages.split_model import parts_of

if TYPE_CHECKING:
    from qairt.engine.cache.cache import StageCache
    from qairt.engine.plan.planned import Plan
    from qairt.engine.stage import Env
    from qairt.model.config import DecoderConfig
    from qairt.model.parts import Part
    from qairt.model.tokenizer import Tokenizer
    from qairt.runtime.genie import GenieAnswer
    from qairt.runtime.sampling import Sampling
    from qairt.toolchain.genie.genie import Dialog

Say = Callable[[str], None]
LARGEST_SEED = (1 << 31) - 1


@dataclass(frozen=True)
class GenieModel:
    """What a dialog needs; nothing is compiled or started before it is asked for."""

    config: DecoderConfig
    tokenizer: Tokenizer
    tokenizer_file: Path
    binaries: GenieBinaries
    parts: Sequence[Part]
    context_length: int

    @cached_property
    def seconds_a_token(self) -> float:
        """About, before anything was measured."""
        from qairt.runtime.genie_cost import seconds_a_token

        return seconds_a_token(self.parts)

    @contextmanager
    def dialog(self, say: Say, sampling: Sampling | None = None, *, endless: bool = False) -> Iterator[Dialog]:
        """Genie with the model, in a process of its own; binaries that are missing are made first.

        Args:
            sampling: greedy when None.
            endless: no token ends an answer.

        Raises:
            ToolchainNotAvailable: the installed wheel has no Genie.
            ItemFailed: a binary cannot be made.
            ToolchainError: Genie refused the model; tells what it said.
        """
        from qairt.toolchain.genie import genie

        genie.require()
        config = self.genie_config(self.binaries.made(say), sampling, endless=endless)
        with genie.Dialog(config) as opened:
            yield opened

    @contextmanager
    def answer(
        self, prompt: Any, sampling: Sampling | None, *, max_new_tokens: int, chat: bool | None, say: Say
    ) -> Iterator[GenieAnswer]:
        """The answer to a prompt, which is checked before anything is made; see `qairt.runtime.generate.generate`.

        Raises:
            GenerationError: the prompt is empty or does not fit the context, or Genie reads it as other tokens.
            QairtError: see `dialog`.
        """
        from qairt.runtime.generate import prompt_text
        from qairt.runtime.generator import require_known
        from qairt.runtime.genie import GenieAnswer, require_same_tokens
        from qairt.runtime.genie_cost import genie_cost
        from qairt.toolchain.genie import genie

        genie.require()
        if max_new_tokens < 1:
            raise GenerationError(
                f"{max_new_tokens} is out of range", where="max_new_tokens", remedy="allowed: 1 or more"
            )
        if sampling is not None and sampling.seed > LARGEST_SEED:
            raise GenerationError(
                f"{sampling.seed} is out of range", where="seed", remedy=f"Genie takes 0 to {LARGEST_SEED}"
            )
        text, is_bare = prompt_text(self.tokenizer, prompt, chat=chat)
        ids = self.tokenizer.encode(text, add_special_tokens=is_bare)
        require_known(ids, self.config.vocab_size)
        new = min(max_new_tokens, genie.room_after(len(ids), self.context_length))
        say(genie_cost(self.seconds_a_token, len(ids), new))
        with self.dialog(say, sampling) as dialog:
            require_same_tokens(self.tokenizer.encode(text), dialog.encode(text))
            yield GenieAnswer(
                dialog,
                self.tokenizer,
                ids,
                max_new_tokens,
                self.config.eos_token_ids,
                expected_s=self.seconds_a_token,
                say=say,
            )

    def genie_config(
        self, binaries: Sequence[Path], sampling: Sampling | None = None, *, endless: bool = False
    ) -> dict[str, Any]:
        """The `genie_config.json` of a dialog on this machine."""
        from qairt.bundle.genie_config import genie_config
        from qairt.toolchain.genie.genie import NO_TOKEN

        threads = min(os.cpu_count() or 1, 8)
        config = genie_config(
            self.config,
            context_size=self.context_length,
            binaries=[str(path) for path in binaries],
            tokenizer=str(self.tokenizer_file),
            threads=threads,
            cpu_mask=hex((1 << threads) - 1),
            poll=False,
            puts_begin=False,  # a prompt has its own, where the model wants one
        )
        dialog = config["dialog"]
        if endless:
            dialog["context"]["eos-token"] = NO_TOKEN
        if sampling is not None and sampling.temperature > 0:
            dialog["sampler"] |= {
                "greedy": False,
                "seed": sampling.seed,
                "temp": sampling.temperature,
                "top-k": sampling.top_k or self.config.vocab_size,
                "top-p": sampling.top_p,
            }
        return config


def genie_model(
    plan: Plan,
    env: Env,
    cache: StageCache,
    source: str,
    config: DecoderConfig,
    tokenizer: Tokenizer,
    tokenizer_file: Path,
) -> GenieModel:
    """Of the context length that the recipe generates with; errors are those of `GenieBinaries`.

    Args:
        source: the recipe as remedies name it.
    """
    lengths = prepare_config(env).context_length
    wanted = settings_of(env).generator.context_length or max(lengths)
    if wanted not in lengths:
        raise RecipeError(
            f"no graph has context length {wanted}",
            where="generator.context_length",
            remedy=f"the recipe makes {', '.join(map(str, lengths))}",
        )
    binaries = GenieBinaries(plan, env, cache, source, wanted)
    parts = parts_of(env)
    return GenieModel(config, tokenizer, tokenizer_file, binaries, parts, wanted)
