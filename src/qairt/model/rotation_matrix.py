"""Orthogonal matrices that spread a value over all channels, and their product with rows without building the matrix.

    R = diag(signs) (A ⊗ B ⊗ …) / sqrt(size)

1. Signs are random, from a seed: without them a constant row would end up in one channel.
2. A, B, … are Hadamard matrices: entries 1 and -1, so that a row with one huge value becomes a row without any. Orders
   2 (Sylvester) and q + 1 or 2 (q + 1) for a prime q (Paley) multiply to the hidden sizes in use:
   576 = 12 * 12 * 4, 896 = 28 * 32, 960 = 20 * 12 * 4, 3072 = 12 * 256.
3. An odd factor without such an order is a Hartley matrix, cos + sin of 2 pi j k / m: entries at most sqrt(2).
4. Everything is computed from integers in float64, so that a seed gives the same matrix on every machine.

Source: R. Paley, On orthogonal matrices (1933); QuaRot (2024) and SpinQuant (2024) for their use.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isqrt, sqrt

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
LARGEST_FACTOR = 64
"""Factors are multiplied up to this size: one product with 64 x 64 is faster than three with 4 x 4."""


@dataclass(frozen=True)
class RotationMatrix:
    """An orthogonal matrix of `size` x `size`, the same for the same seed."""

    size: int
    seed: int

    def apply(self, rows: NDArray[np.floating], scale: NDArray[np.floating] | None = None) -> NDArray[np.float32]:
        """rows [..., in] @ R in float64, rounded once; if `in` is a multiple of `size`, each `size` channels alone.
        Needs four times the memory of `rows`, so call it on tiles.

        Args:
            scale: [in], multiplied with every row first.
        """
        doubles = rows.astype(np.float64)
        if scale is not None:
            doubles *= scale
        turned = doubles.reshape(-1, self.size)
        turned *= _signs(self.size, self.seed)
        after = self.size
        for factor in _factors(self.size):
            order = len(factor)
            after //= order
            # Small products, one after another: for one large one OpenBLAS starts threads, which wait in a busy loop.
            turned = (
                turned.reshape(-1, self.size // order, order) @ factor
                if after == 1
                else factor.T @ turned.reshape(-1, order, after)
            )
        return turned.reshape(rows.shape).astype(np.float32)


@cache
def _signs(size: int, seed: int) -> Doubles:
    # The raw stream of a bit generator is the same in every version of numpy; samples drawn from it may not be.
    drawn = np.random.PCG64(seed).random_raw(size) >> np.uint64(63)
    return 1 - 2 * drawn.astype(np.float64)


@cache
def _factors(size: int) -> tuple[Doubles, ...]:
    """Orthogonal matrices whose orders multiply to `size`, few and small."""
    orders, odd = _orders(size)
    small: list[Doubles] = [_hartley(odd)] if odd > 1 else []
    for order in orders:
        factor = _hadamard(order) / sqrt(order)
        if small and len(small[-1]) * order <= LARGEST_FACTOR:
            small[-1] = _kron(small[-1], factor)
        else:
            small.append(factor)
    return tuple(small) or (np.ones((1, 1)),)


def _orders(size: int) -> tuple[list[int], int]:
    """Hadamard orders whose product is `size` divided by the second, odd number; that is 1 if possible."""
    twos = (size & -size).bit_length() - 1
    odd = size >> twos
    parts = _parts(odd, twos // 2)
    if parts is None:
        return [2] * twos, odd
    return [4 * part for part in parts] + [2] * (twos - 2 * len(parts)), 1


def _parts(odd: int, most: int) -> list[int] | None:
    """At most `most` factors of `odd` such that four times each is a Paley order; None if there are none."""
    if odd == 1:
        return []
    for part in range(3, odd + 1 if most else 0, 2):
        if odd % part == 0 and _paley_prime(4 * part) is not None:
            others = _parts(odd // part, most - 1)
            if others is not None:
                return [part, *others]
    return None


def _paley_prime(order: int) -> int | None:
    """The prime that a Hadamard matrix of this order is built from."""
    for prime in (order - 1, order // 2 - 1):
        if _is_prime(prime) and prime % 4 == (3 if prime == order - 1 else 1):
            return prime
    return None


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1))


def _hadamard(order: int) -> Doubles:
    """Entries 1 and -1, rows orthogonal; `order` is 2 or one that `_paley_prime` knows."""
    if order == 2:
        return np.array([[1.0, 1.0], [1.0, -1.0]])
    prime = _paley_prime(order)
    assert prime is not None
    residues = {value * value % prime for value in range(1, prime)}
    character = np.array([0.0] + [1.0 if value in residues else -1.0 for value in range(1, prime)])
    places = np.arange(prime)
    symmetric = prime % 4 == 1
    core = np.zeros((prime + 1, prime + 1))
    core[0, 1:] = 1
    core[1:, 0] = 1 if symmetric else -1
    core[1:, 1:] = character[(places[:, None] - places) % prime]
    if not symmetric:
        return core + np.eye(prime + 1)
    return _kron(core, np.array([[1.0, 1.0], [1.0, -1.0]])) + _kron(
        np.eye(prime + 1), np.array([[1.0, -1.0], [-1.0, -1.0]])
    )


def _kron(a: Doubles, b: Doubles) -> Doubles:
    return np.asarray(np.kron(a, b), np.float64)


def _hartley(size: int) -> Doubles:
    """cos + sin of 2 pi j k / size, divided by sqrt(size): symmetric and orthogonal for every size."""
    places = np.arange(size)
    angle = 2 * np.pi / size * (places[:, None] * places % size)
    return np.asarray((np.cos(angle) + np.sin(angle)) / sqrt(size), np.float64)
