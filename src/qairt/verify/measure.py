"""How far outputs are from the float model's, accumulated over calls."""

from __future__ import annotations

import numpy as np

from qairt.model.names import token_axis
from qairt.runtime.metrics import decibel
from qairt.runtime.stored import Floats
from qairt.verify.result import LOGITS, OutputFidelity, Way


def rows(name: str, values: Floats, count: int) -> Floats:
    """The last `count` tokens of an output [..., tokens, ...] -> [count, values]; those before are padding. An
    embedding model's vector is one row, whatever the count."""
    moved = np.moveaxis(values, token_axis(name), 0)[-count:]
    return np.ascontiguousarray(moved).reshape(len(moved), -1)


def kl_and_agreement(reference: Floats, measured: Floats) -> tuple[float, int]:
    """For logits [tokens, vocab]: KL(reference || measured) summed over tokens, in nats; tokens with the same top-1."""
    total, same = 0.0, 0
    for row_reference, row_measured in zip(reference, measured, strict=True):
        p, q = _log_softmax(row_reference), _log_softmax(row_measured)
        total += float((np.exp(p) * (p - q)).sum())
        same += int(row_reference.argmax() == row_measured.argmax())
    return total, same


class Deviation:
    """Energies of one output's values and errors; keeps no values."""

    def __init__(self, output: str) -> None:
        self.output = output
        self.tokens = 0
        self._signal = np.zeros(2)
        self._noise = np.zeros(2)  # the text's first token, the others
        self._counted = np.zeros(2, int)
        self._largest = np.zeros(2)
        self._kl, self._same = 0.0, 0
        self._cpu_signal, self._cpu_noise = 0.0, 0.0

    def add(self, reference: Floats, measured: Floats, start: int) -> None:
        """Compare the tokens `start` … of the text, [tokens, values] each.

        The mean of each token's logits is subtracted from both: no probability depends on it.
        """
        if self.output == LOGITS:
            kl, same = kl_and_agreement(reference, measured)
            self._kl += kl
            self._same += same
            reference, measured = (values - values.mean(1, keepdims=True) for values in (reference, measured))
        error = np.subtract(reference, measured, dtype=np.float64)
        signals = np.square(reference, dtype=np.float64).sum(1)
        noises = np.square(error).sum(1)
        first = 1 if start == 0 else 0
        for group, tokens in enumerate((slice(0, first), slice(first, None))):
            self._signal[group] += signals[tokens].sum()
            self._noise[group] += noises[tokens].sum()
            self._counted[group] += len(signals[tokens])
            self._largest[group] = max(self._largest[group], float(np.abs(error[tokens]).max(initial=0.0)))
        self.tokens += len(reference)

    def add_cpu(self, cpu: Floats, measured: Floats, step: float) -> None:
        """Compare with the CPU's output for the same inputs.

        Args:
            step: of the output's grid, by which either may round otherwise; such a difference is not counted.
        """
        error = np.abs(np.subtract(cpu, measured, dtype=np.float64))
        self._cpu_signal += float(np.square(cpu, dtype=np.float64).sum())
        self._cpu_noise += float(np.square(np.maximum(error - 1.01 * step, 0)).sum())  # 1.01: of float32 values

    def result(self, part: int, ar: int, way: Way) -> OutputFidelity:
        """The result; at least one token must have been compared."""
        first, others = (decibel(*pair) for pair in zip(self._signal, self._noise, strict=True))
        has_first, has_others = (bool(count) for count in self._counted)
        is_logits = self.output == LOGITS
        return OutputFidelity(
            part=part,
            ar=ar,
            way=way,
            output=self.output,
            tokens=self.tokens,
            sqnr_db=others if has_others else first,
            first_token_db=first if has_first else None,
            max_error=float(self._largest[1 if has_others else 0]),
            top1=self._same / self.tokens if is_logits else None,
            kl=self._kl / self.tokens if is_logits else None,
            cpu_db=decibel(self._cpu_signal, self._cpu_noise) if self._cpu_signal else None,
        )


def _log_softmax(row: Floats) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    shifted = row.astype(np.float64) - float(row.max())
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))
