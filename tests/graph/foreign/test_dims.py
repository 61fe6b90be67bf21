"""What a number in a fixed-size graph means, rule by rule."""

from __future__ import annotations

import pytest

from qairt.graph.foreign.dims import AmbiguousError, Dim, Lengths, broadcast, concat, cut, reshape

OLD, NEW = Lengths(ar=8, cl=32), Lengths(ar=3, cl=100)
AR, CL, PAST = Dim(1, "ar"), Dim(1, "cl"), Dim(1, "past")


def test_reshape_groups_prove_what_a_number_means():
    assert reshape((Dim(1), AR, Dim(64)), [1, 8, 4, 16], OLD) == (Dim(1), AR, Dim(4), Dim(16))
    assert reshape((Dim(1), AR, Dim(64)), [1, 8, 8, 8], OLD) == (Dim(1), AR, Dim(8), Dim(8))
    assert reshape((AR, Dim(4), Dim(16)), [1, -1, 64], OLD) == (Dim(1), AR, Dim(64))
    assert reshape((AR, Dim(4), Dim(16)), [0, 64], OLD) == (AR, Dim(64))
    assert reshape((Dim(8), AR, Dim(8)), [8, 8, 8], OLD) == (Dim(8), AR, Dim(8))
    assert reshape((Dim(1), AR, Dim(64)), [512], OLD) == (Dim(64, "ar"),)


@pytest.mark.parametrize(
    ("before", "literal", "message"),
    [
        ((Dim(2), Dim(4, "ar")), [8, 8], r"it is unclear which of \[8, 8\] holds ar = 8"),
        ((AR, CL), [256], "it merges ar and cl"),
        ((AR, Dim(64)), [8, 63], r"512 elements do not fit \[8, 63\]"),
    ],
)
def test_reshape_that_proves_nothing(before: tuple[Dim, ...], literal: list[int], message: str):
    with pytest.raises(AmbiguousError, match=message):
        reshape(before, literal, OLD)


def test_past_and_new_make_the_context():
    assert concat([(Dim(2), PAST), (Dim(2), AR)], 1) == (Dim(2), CL)
    assert concat([(AR, Dim(8)), (AR, Dim(8))], 1) == (AR, Dim(16))
    with pytest.raises(AmbiguousError, match="it concatenates past and past along axis 0"):
        concat([(PAST,), (PAST,)], 0)
    with pytest.raises(AmbiguousError, match="the other dimensions have different meanings"):
        concat([(Dim(8), PAST), (AR, AR)], 1)


def test_a_number_that_meets_a_length_was_made_for_it():
    assert broadcast((Dim(1), AR, Dim(64)), (Dim(64),)) == (Dim(1), AR, Dim(64))
    with pytest.raises(AmbiguousError, match="8 and ar meet: a constant was exported for one length"):
        broadcast((AR, Dim(64)), (Dim(8), Dim(64)))


@pytest.mark.parametrize(
    ("dim", "start", "end", "wanted"),
    [
        (CL, 0, 24, (0, 97, PAST)),
        (CL, 0, 8, (0, 3, AR)),
        (CL, 24, 2**31, (97, 2**31, AR)),
        (CL, -8, 2**63 - 1, (-3, 2**63 - 1, AR)),
        (CL, 8, 32, (3, 100, PAST)),
        (CL, 0, -8, (0, -3, PAST)),
        (CL, -32, 32, (-100, 100, CL)),
        (AR, 0, 8, (0, 3, AR)),
        (Dim(4, "ar"), 0, 32, (0, 12, Dim(4, "ar"))),
        (Dim(64), 8, 32, (8, 32, Dim(24))),
    ],
)
def test_slice_bounds_mean_a_length_on_an_axis_that_is_one(
    dim: Dim, start: int, end: int, wanted: tuple[int, int, Dim]
):
    assert cut(dim, start, end, 1, OLD, NEW) == wanted


@pytest.mark.parametrize(
    ("dim", "start", "end", "step"),
    [(CL, 8, 24, 1), (CL, 0, 31, 1), (CL, 0, 33, 1), (CL, 0, 32, 4), (CL, 0, 0, 1), (AR, -1, 8, 1), (PAST, 0, 8, 1)],
)
def test_a_slice_that_proves_nothing(dim: Dim, start: int, end: int, step: int):
    with pytest.raises(AmbiguousError, match=f"it slices {dim.symbol} = .* from {start} to {end}"):
        cut(dim, start, end, step, OLD, NEW)


def test_half_of_the_context_cannot_be_told_from_the_other():
    with pytest.raises(AmbiguousError, match="it slices cl = 16 from 0 to 8"):
        cut(CL, 0, 8, 1, Lengths(8, 16), NEW)
