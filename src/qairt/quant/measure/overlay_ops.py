"""A decoder's operations with some weights replaced."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from qairt.model.torch_ops import Tap, TorchOps


class OverlayOps(TorchOps):
    """`TorchOps` on the weights that another one holds, some of them replaced."""

    def __init__(
        self,
        ops: TorchOps,
        weights: Mapping[str, Tensor],
        tap: Tap | None = None,
        branches: Mapping[str, Tensor] | None = None,
    ) -> None:
        """
        Args:
            weights: the replacements, by name.
            branches: values of the LoRA branches' inputs, by name; those of `ops` when None.
        """
        super().__init__(ops.parameters, tap, ops.device)
        self._stored = ops
        self._replaced = weights
        self.branches = dict(ops.branches if branches is None else branches)

    def weight(self, name: str) -> Tensor:
        replaced = self._replaced.get(name)
        return self._stored.weight(name) if replaced is None else replaced
