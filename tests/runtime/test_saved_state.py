"""States in files: what goes on from them says the same, and nothing else may go on from them."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import TINY, save_tiny
from tiny_parts import make_parts, measured_encodings

from qairt.errors import CacheError, GenerationError, GraphError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.runtime.chain import PartChain
from qairt.runtime.saved_state import Owner, SavedState, read_state, write_state

CL = 32
IDS = np.random.default_rng(0).integers(3, 250, CL).tolist()
OWNER = Owner("graphs", "base", "values")
REMEDY = "\n  write it again with --save-state, or leave --load-state out"


@pytest.fixture(scope="module")
def parts(tmp_path_factory, parameters):
    encodings = measured_encodings(parameters, IDS)
    return make_parts(
        tmp_path_factory.mktemp("parts"), parameters, ars=[1, 8], cl=CL, num_splits=2, encodings=encodings
    )


def state_of(parts, config, tokens: int) -> SavedState:
    with PartChain(parts, config) as chain:
        chain.prefill(IDS[:tokens])
        return chain.saved()


@pytest.mark.parametrize(("saved", "ids", "expected"), [(8, 20, 8), (20, 12, 11), (20, 20, 19), (1, 9, 1)])
def test_the_shared_beginning_is_not_read_again(parts, config, saved, ids, expected):
    state = state_of(parts, config, saved)
    with PartChain(parts, config) as chain:
        chain.resume(state)
        after = chain.prefill(IDS[:ids])
        assert (chain.reused, chain.length) == (expected, ids)
        following = chain.decode(IDS[ids])
        assert list(chain.saved().tokens) == IDS[: ids + 1]
    with PartChain(parts, config) as chain:
        assert int(chain.prefill(IDS[:ids]).argmax()) == int(after.argmax())
        assert int(chain.decode(IDS[ids]).argmax()) == int(following.argmax())


def test_another_beginning_shares_nothing(parts, config):
    state = state_of(parts, config, 9)
    with PartChain(parts, config) as chain:
        chain.resume(state)
        chain.prefill([7, *IDS[:5]])
        assert (chain.reused, chain.length) == (0, 6)
        chain.reset()
        chain.prefill(IDS[:12])
        assert chain.reused == 9, "after a reset, it is used again"
        with pytest.raises(GenerationError, match="the prompt has no tokens"):
            chain.prefill([])


def test_a_state_goes_from_a_short_context_to_a_long_one(parts, config, parameters, tmp_path):
    encodings = measured_encodings(parameters, IDS)
    short = make_parts(tmp_path, parameters, ars=[1, 8], cl=16, num_splits=2, encodings=encodings)
    with PartChain(short, config) as chain:
        chain.prefill(IDS[:12])
        state = chain.saved()
    with PartChain(parts, config) as chain:
        chain.resume(state)
        after = chain.prefill(IDS[:20])
        assert chain.reused == 12
        chain.resume(state_of(parts, config, 1))
        chain.reset()
        assert int(chain.prefill(IDS[:20]).argmax()) == int(after.argmax())


def test_a_file_holds_it_whole(parts, config, tmp_path: Path):
    state = state_of(parts, config, 10)
    path = tmp_path / "a.state"
    write_state(path, state, OWNER)
    assert [each.name for each in tmp_path.iterdir()] == ["a.state"]
    found = read_state(path, OWNER)
    assert list(found.tokens) == IDS[:10]
    assert found.cache.keys() == state.cache.keys()
    for name, value in state.cache.items():
        np.testing.assert_array_equal(found.cache[name], value)


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        (replace(OWNER, graphs="others"), "the state was computed with other graphs than this run's"),
        (replace(OWNER, concurrency="french"), "the state was computed with concurrency base, this is french"),
        (replace(OWNER, branches="others"), "the state was computed with other values of concurrency base"),
    ],
)
def test_nothing_else_goes_on_from_it(parts, config, tmp_path: Path, owner: Owner, told: str):
    path = tmp_path / "a.state"
    write_state(path, state_of(parts, config, 4), OWNER)
    with pytest.raises(GenerationError) as raised:
        read_state(path, owner)
    assert str(raised.value) == f"{path}: {told}{REMEDY}"


def test_files_that_are_no_state(parts, config, tmp_path: Path):
    path = tmp_path / "a.state"
    with pytest.raises(GenerationError) as raised:
        read_state(path, OWNER)
    assert str(raised.value) == f"{path}: it cannot be read: No such file or directory{REMEDY}"
    write_state(path, state_of(parts, config, 4), OWNER)
    content = bytearray(path.read_bytes())
    for damaged, told in (
        (b"no state", "it is not a saved state"),
        (bytes(content[:-3]), "it is not a saved state"),
        (bytes(content[:-1]) + bytes([content[-1] ^ 1]), "it is damaged"),
        (bytes(content).replace(b"qairt state 1", b"qairt state 0"), "it is not a saved state of this version"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(GenerationError) as raised:
            read_state(path, OWNER)
        assert str(raised.value) == f"{path}: {told}{REMEDY}"


def test_a_state_that_cannot_be_written(parts, config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "a.state"
    state = state_of(parts, config, 4)
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(CacheError, match="no space left on device\n  free space .* or give another path with --save"):
        write_state(path, state, OWNER)
    assert not list(tmp_path.iterdir())


def test_a_full_context_cannot_be_saved(parts, config):
    with PartChain(parts, config) as chain:
        chain.prefill(IDS)
        with pytest.raises(GenerationError) as raised:
            chain.saved()
    assert str(raised.value) == (
        "--save-state: the context is full: of its 32 tokens, the first are no longer in the cache\n"
        "  lower --max-new-tokens, or shorten the prompt"
    )


def test_tensors_of_another_model_are_refused(parts, config):
    state = state_of(parts, config, 4)
    other = SavedState(state.tokens, {name: value[:1] for name, value in state.cache.items()})
    with PartChain(parts, config) as chain:
        chain.resume(other)
        with pytest.raises(GraphError, match="the state's past_key_0_in is uint8 "):
            chain.prefill(IDS[:6])


@pytest.mark.parametrize(
    ("variant", "saved", "ids", "expected"),
    [("exaone4", 6, 20, 6), ("exaone4", 20, 26, 20), ("exaone4", 20, 12, 0), ("exaone4", 6, 5, 4), ("lfm2", 20, 26, 20),
     ("lfm2", 20, 12, 0)],
)  # fmt: skip
def test_windows_and_short_convolutions_go_on_from_a_whole_state(tmp_path: Path, variant, saved, ids, expected):
    family, changes = TINY[variant]
    save_tiny(tmp_path, family, **changes)
    config = describe_model(tmp_path).config
    parameters = open_parameters(tmp_path, config)
    text = [token % config.vocab_size for token in IDS]
    encodings = measured_encodings(parameters, text)
    parts = make_parts(tmp_path, parameters, ars=[1, 8], cl=CL, num_splits=2, encodings=encodings)
    with PartChain(parts, config) as chain:
        chain.prefill(text[:saved])
        write_state(tmp_path / "a.state", chain.saved(), OWNER)
    with PartChain(parts, config) as chain:
        chain.resume(read_state(tmp_path / "a.state", OWNER))
        after = [chain.prefill(text[:ids]), chain.decode(text[ids])]
        assert chain.reused == expected
    with PartChain(parts, config) as chain:
        alone = [chain.prefill(text[:ids]), chain.decode(text[ids])]
    for resumed, whole in zip(after, alone, strict=True):
        np.testing.assert_allclose(resumed, whole, atol=0.02 * np.abs(whole).max())
