"""What is evaluated, and where: a model on one of its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qairt.evaluate.text_model import EvaluationText, Ids, ReferenceModel, TextKey, TextModel
    from qairt.model.config import DecoderConfig
    from qairt.model.parameters import Parameters
    from qairt.model.tokenizer import Tokenizer
    from qairt.quant.encodings import Encodings
    from qairt.runtime.generator import Generator
    from qairt.runtime.parts import Opener, PartGraph
    from qairt.runtime.stored import Array

EvaluationTarget = Literal["torch", "quantsim", "cpu", "device", "ssh"]
"""torch: the float model. quantsim: its encodings simulated in torch. cpu: the split, quantized graphs. device, ssh:
the same graphs as compiled, on an Android device or another machine with an NPU."""

Progress = Callable[[str, float], None]
"""Called with what is being measured and the fraction of it that is done, 0 … 1."""

GROUP_BYTES = 128 << 20
"""Of the hidden states that a torch model has of the tokens that it reads together, one group after the other. A larger
group reads the weights less often, but a kill loses more."""


class TaskIndex(Protocol):
    """lm-eval's tasks."""

    @property
    def all_tasks(self) -> Sequence[str]: ...


@dataclass
class Subject:
    """A model on a target. Everything is opened when a metric needs it, not before."""

    target: EvaluationTarget
    config: DecoderConfig
    tokenizer: Tokenizer
    context_length: int
    """Tokens per chunk."""
    answer_length: int
    """Tokens of a prompt and its answer together, where the model generates."""
    identity: str
    """A digest of everything that its scores depend on besides metric and text."""
    state_folder: Path
    open_parameters: Callable[[], Parameters]
    """The float model's."""
    open_simulation: Callable[[], tuple[Parameters, Encodings]]
    open_parts: Callable[[], Mapping[int, Sequence[PartGraph]]]
    open_generator: Callable[[], AbstractContextManager[Generator]]
    float_branches: Callable[[Parameters], Mapping[str, NDArray[np.float32]]] = lambda parameters: {}
    """The values of the LoRA branches' inputs for parameters, by name; none for the base."""
    stored_branches: Callable[[], Mapping[str, Array]] = dict
    """The same as the integers that quantized graphs read."""
    open_part: Opener | None = None
    """What runs a part; ONNX Runtime's CPU provider when None."""
    device: str = "cpu"
    """What torch computes on, as torch names it."""
    progress: Progress = lambda what, fraction: None
    texts: dict[TextKey, EvaluationText] = field(default_factory=dict)
    """Texts that were read."""
    token_ids: dict[str, Ids] = field(default_factory=dict)
    """Their tokens, by digest."""
    tasks: dict[str | None, TaskIndex] = field(default_factory=dict)
    """lm-eval's tasks that were loaded, by the folder of the user's own."""

    @property
    def group_tokens(self) -> int:
        """Tokens that a torch model reads together."""
        return GROUP_BYTES // (4 * self.config.hidden_size)

    @contextmanager
    def text_models(
        self, pool: ThreadPoolExecutor, *, length: int, device: str, with_reference: bool
    ) -> Iterator[tuple[TextModel, ReferenceModel | None]]:
        """The model that reads text, and the float model to compare with; on the target torch they are one.

        Args:
            length: of the longest sequence.
            with_reference: open the float model too.
        """
        from qairt.evaluate.blockwise import BlockwiseModel
        from qairt.evaluate.parts_model import PartsModel
        from qairt.quant.encodings import Encodings

        model: TextModel
        reference = None
        if with_reference or self.target == "torch":
            parameters = self.open_parameters()
            reference = BlockwiseModel(parameters, Encodings(), pool, device, self.float_branches(parameters))
        if self.target == "torch":
            assert reference is not None
            model = reference
        elif self.target == "quantsim":
            simulated, encodings = self.open_simulation()
            model = BlockwiseModel(simulated, encodings, pool, device, self.float_branches(simulated))
        else:
            model = PartsModel(self.open_parts(), self.config, length, self.open_part, self.stored_branches())
        try:
            yield model, reference if with_reference else None
        finally:
            model.close()
            if reference is not None:
                reference.close()
