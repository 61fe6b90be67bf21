"""The last rung of `qairt verify`: Genie, the vendor's runtime, compared with the CPU on the same quantized parts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from qairt.amounts import about
from qairt.errors import QairtError, RecipeError
from qairt.notify import Notify
from qairt.recipe.configs import BASE
from qairt.verify.tokens import NEW, PROMPT, compare_tokens

if TYPE_CHECKING:
    from qairt.results.genie import GenieModel
    from qairt.results.genie_binaries import GenieBinaries
    from qairt.runtime.stored import Array
    from qairt.stages.quantize import QuantizedPart
    from qairt.verify.result import TokenFidelity

LONGEST_S = 300.0
"""A rung that takes longer is measured only when it is requested by name."""


class RungInGenie(ABC):
    """A rung that runs all parts in Genie."""

    recipe_arguments: str
    gives: ClassVar[str]
    """What Genie returns."""
    new: ClassVar[int]
    """Tokens that it generates."""

    @property
    @abstractmethod
    def binaries(self) -> GenieBinaries:
        """Raises what `GenieBinaries` does."""

    @abstractmethod
    def seconds_to_run(self) -> float:
        """About; without what it takes to build the binaries.

        Raises:
            QairtError: Genie cannot run the model.
        """

    def why_not(self, *, is_requested: bool, part: int | None) -> str | None:
        """Why it cannot be measured, or is measured only on request.

        Raises:
            RecipeError: it is requested for one part.
        """
        from qairt.toolchain.genie import dialog as genie

        if part is not None:
            if is_requested:
                raise RecipeError(
                    f"Genie returns {self.gives}, and one part alone gives none",
                    where="--part",
                    remedy="leave --part out",
                )
            return "it runs all parts together"
        try:
            genie.require()
            seconds = self.seconds_to_run() + self.binaries.seconds_to_build()
        except QairtError as error:
            return f"{error.what}: {error.remedy}"
        if seconds > LONGEST_S and not is_requested:
            return f"it takes about {about(seconds)}; qairt verify {self.recipe_arguments} --rung genie"
        return None


@dataclass
class GenieRung(RungInGenie):
    """Genie as a rung; the model is opened when it is first needed.

    Args:
        open_model: raises what `GenieBinaries` does.
        recipe_arguments: the recipe and its overrides, for remedies.
    """

    open_model: Callable[[str], GenieModel]
    """Gets a LoRA concurrency, or `base`."""
    recipe_arguments: str
    gives: ClassVar[str] = "tokens"
    prompt: ClassVar[int] = PROMPT
    new: ClassVar[int] = NEW

    @cached_property
    def model(self) -> GenieModel:
        return self.open_model(BASE)

    @property
    def binaries(self) -> GenieBinaries:
        return self.model.binaries

    def seconds_to_run(self) -> float:
        from qairt.bundle.compose import require_runnable

        require_runnable(self.model.config, "genie", context_size=self.model.context_length)
        return self.model.seconds_per_token * (PROMPT + NEW - 1)

    def measure(
        self,
        prompt: Sequence[int],
        parts: Sequence[QuantizedPart],
        notify: Notify,
        concurrency: str = "",
        branches: Mapping[str, Array] | None = None,
    ) -> TokenFidelity:
        """
        Args:
            prompt: token ids.
            parts: outputs of `quantize` for AR 1, in order.
            concurrency: the LoRA adapters; empty for the base.
            branches: the inputs of its branches as stored integers, by name.

        Raises:
            QairtError: a binary cannot be compiled, or Genie refused it or crashed.
        """
        from qairt.runtime.chain import PartChain
        from qairt.runtime.genie_cost import genie_cost
        from qairt.runtime.heartbeat import heartbeat
        from qairt.runtime.parts import PartGraph

        each = self.model.seconds_per_token
        notify(genie_cost(each, len(prompt), NEW))
        quantized = [PartGraph.read(part.quantized_onnx, part.signature) for part in parts]
        with (
            self.open_model(concurrency or BASE).dialog(notify, endless=True) as dialog,
            PartChain({1: quantized}, self.model.config, branches=branches) as cpu,
            heartbeat("genie", each * (len(prompt) + NEW - 1), notify),
        ):
            found = compare_tokens("genie", dialog, cpu, prompt, NEW)
            return found.model_copy(update={"concurrency": concurrency})
