"""The KV cache: left padding, the newest on the right, one grid for all ARs."""

import numpy as np
import pytest

from qairt.errors import GraphError
from qairt.graph.tensors import GraphSignature, TensorSpec
from qairt.runtime.cache import KVCache

KV, D, CL = 2, 3, 8


def signature(ar: int, *, scale: float | None = 0.5, out_scale: float | None = 0.5) -> GraphSignature:
    dtype, offset = ("float32", None) if scale is None else ("uint8", -128)

    def spec(name: str, shape: tuple[int, ...], step: float | None) -> TensorSpec:
        return TensorSpec(name=name, dtype=dtype, shape=shape, scale=step, offset=offset)

    return GraphSignature(
        name=f"ar{ar}-cl{CL}_2_of_2",
        ar=ar,
        cl=CL,
        part=2,
        of=2,
        inputs=(
            spec("past_key_4_in", (KV, 1, D, CL - ar), scale),
            spec("past_value_4_in", (KV, 1, CL - ar, D), scale),
        ),
        outputs=(
            spec("past_key_4_out", (KV, 1, D, ar), out_scale),
            spec("past_value_4_out", (KV, 1, ar, D), out_scale),
        ),
    )


def present(rng, ar: int) -> dict[str, np.ndarray]:
    return {
        "past_key_4_out": rng.integers(0, 255, (KV, 1, D, ar)).astype(np.uint8),
        "past_value_4_out": rng.integers(0, 255, (KV, 1, ar, D)).astype(np.uint8),
    }


def test_it_starts_as_zeros_which_are_stored_as_128():
    cache = KVCache([signature(1)])
    assert cache.length == 0
    assert (cache.past(signature(1).inputs[0]) == 128).all()
    assert (KVCache([signature(1, scale=None, out_scale=None)]).past(signature(1).inputs[1]) == 0).all()


def test_tokens_come_in_on_the_right_and_the_rest_moves_left():
    rng = np.random.default_rng(0)
    small, large = signature(1), signature(4)
    cache = KVCache([large, small])
    keys, values = np.full((KV, 1, D, CL), 128, np.uint8), np.full((KV, 1, CL, D), 128, np.uint8)
    # (AR of the call, tokens of it that are real)
    for calls, (ar, count) in enumerate([(4, 4), (4, 2), (1, 1), (1, 1), (1, 1)]):
        new = present(rng, ar)
        cache.append(new, count)
        keys = np.concatenate([keys, new["past_key_4_out"][..., ar - count :]], 3)
        values = np.concatenate([values, new["past_value_4_out"][:, :, ar - count :]], 2)
        assert cache.length == [4, 6, 7, 8, 9][calls]
        for seen in (small, large):
            past = CL - seen.ar
            key, value = (cache.past(spec) for spec in seen.inputs)
            np.testing.assert_array_equal(key, keys[..., -past:])
            np.testing.assert_array_equal(value, values[:, :, -past:])
            assert key.flags.c_contiguous
            assert value.flags.c_contiguous
            assert key.dtype == np.uint8


def test_more_tokens_than_slots_leave_the_newest():
    large = signature(6)
    cache = KVCache([large])
    new = present(np.random.default_rng(1), 6)
    cache.append(new, 5)
    np.testing.assert_array_equal(cache.past(large.inputs[0]), new["past_key_4_out"][..., -2:])
    np.testing.assert_array_equal(cache.past(large.inputs[1]), new["past_value_4_out"][:, :, -2:])


def test_reset_forgets():
    cache = KVCache([signature(1)])
    cache.append(present(np.random.default_rng(2), 1), 1)
    cache.reset()
    assert cache.length == 0
    assert (cache.past(signature(1).inputs[0]) == 128).all()


def test_an_encoding_that_differs_between_ars_is_refused():
    with pytest.raises(GraphError) as caught:
        KVCache([signature(1), signature(4, scale=0.25, out_scale=0.25)])
    assert str(caught.value) == (
        "ar4-cl8_2_of_2: past_key_4_in is uint8 [2, 1, 3, tokens] with scale 0.25 and offset -128 in ar4-cl8_2_of_2, "
        "but uint8 [2, 1, 3, tokens] with scale 0.5 and offset -128 in another graph\n"
        "  all ARs, inputs and outputs share one KV cache: quantize with tied encodings"
    )


def test_an_encoding_that_differs_between_in_and_out_is_refused():
    with pytest.raises(GraphError, match=r"past_key_4_out is uint8 .* with scale 0.25"):
        KVCache([signature(1, out_scale=0.25)])
