"""The last rung of `qairt verify`: Genie, the vendor's runtime, beside the CPU on the same quantized parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from qairt.amounts import about
from qairt.errors import QairtError, RecipeError
from qairt.verify.tokens import NEW, PROMPT, compare_tokens

if TYPE_CHECKING:
    from qairt.results.genie import GenieModel
    from qairt.results.genie_binaries import GenieBinaries
    from qairt.verify.result import TokenFidelity

Say = Callable[[str], None]
LONGEST_S = 300.0
"""A rung that takes longer is measured when it is asked for by name."""


@dataclass
class GenieRung:
    """Asked for nothing, it finds out nothing.

    Args:
        open_model: of the plan; raises what `GenieBinaries` does.
        source: the recipe as the remedies name it.
    """

    open_model: Callable[[], GenieModel]
    source: str
    prompt: ClassVar[int] = PROMPT
    new: ClassVar[int] = NEW

    @cached_property
    def model(self) -> GenieModel:
        return self.open_model()

    @property
    def binaries(self) -> GenieBinaries:
        return self.model.binaries

    def why_not(self, *, is_asked: bool, part: int | None) -> str | None:
        """Why it cannot be measured, or is not unless it is asked for.

        Raises:
            RecipeError: it is asked for one part.
        """
        from qairt.toolchain.genie import genie

        if part is not None:
            if is_asked:
                raise RecipeError(
                    "Genie tells tokens, and one part gives none", where="--part", remedy="leave --part out"
                )
            return "it runs all parts together"
        try:
            genie.require()
            seconds = self.model.seconds_a_token * (PROMPT + NEW - 1) + self.binaries.seconds_to_make()
        except QairtError as error:
            return f"{error.what}: {error.remedy}"
        if seconds > LONGEST_S and not is_asked:
            return f"it takes about {about(seconds)}; qairt verify {self.source} --rung genie"
        return None

    def measure(self, prompt: Sequence[int], parts: Sequence[Any], say: Say) -> TokenFidelity:
        """
        Args:
            prompt: token ids.
            parts: outputs of `quantize` for AR 1, in order.

        Raises:
            QairtError: a binary cannot be made, or Genie refused it or died.
        """
        from qairt.runtime.chain import PartChain
        from qairt.runtime.genie_cost import genie_cost
        from qairt.runtime.parts import QuantizedPart
        from qairt.runtime.waiting import said_while_waiting

        each = self.model.seconds_a_token
        say(genie_cost(each, len(prompt), NEW))
        quantized = [QuantizedPart.read(part.quantized_onnx, part.signature) for part in parts]
        with (
            self.model.dialog(say, endless=True) as dialog,
            PartChain({1: quantized}, self.model.config) as cpu,
            said_while_waiting("genie", each * (len(prompt) + NEW - 1), say),
        ):
            return compare_tokens("genie", dialog, cpu, prompt, NEW)
