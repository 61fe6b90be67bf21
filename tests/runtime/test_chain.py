"""Parts chained: the same logits as the whole float model, whatever the ARs and wherever padding falls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import hf_logits, save_tiny
from tiny_parts import make_parts, measured_encodings

from qairt.errors import GenerationError, GraphError, ModelError
from qairt.model.describe import describe_model
from qairt.model.parameters import open_parameters
from qairt.runtime.chain import ChainObserver, PartChain
from qairt.runtime.cpu import CpuPart
from qairt.runtime.metrics import sqnr_db
from qairt.runtime.parts import PartGraph

CL = 32
IDS = np.random.default_rng(0).integers(3, 250, CL).tolist()
"""As in conftest.py."""


@pytest.fixture(scope="module")
def expected(hf_model) -> np.ndarray:
    return hf_logits(hf_model, IDS)


def chain_of(parts, *ars: int, **settings) -> PartChain:
    return PartChain({ar: parts[ar] for ar in ars}, settings.pop("config"), **settings)


def all_logits(chain: PartChain, prompt: int) -> np.ndarray:
    """Prefill `prompt` tokens, decode the rest as far as there is room: a row for each token."""
    rows = list(chain.logits(IDS[:prompt]))
    while chain.room and chain.length < CL:
        rows.append(chain.decode(IDS[chain.length])[None])
    return np.concatenate(rows)


@pytest.mark.parametrize("ars", [(1,), (1, 8), (1, 4, 8), (8, 1), (1, 12)])
@pytest.mark.parametrize("prompt", [1, 3, 8, 13, 31, 32])
def test_float_parts_give_the_models_logits_at_every_position(float_parts, config, expected, ars, prompt):
    with chain_of(float_parts, *ars, config=config, keep_open=True) as chain:
        np.testing.assert_allclose(all_logits(chain, prompt), expected, atol=1e-4)
        assert (chain.length, chain.room) == (CL, 0)


@pytest.mark.parametrize(("ars", "end"), [((8,), 25), ((12,), 21), ((4, 8), 29)])
def test_without_ar_1_it_goes_as_far_as_full_calls_reach(float_parts, config, expected, ars, end):
    with chain_of(float_parts, *ars, config=config) as chain:
        logits = all_logits(chain, 13)
        assert chain.length == end
        np.testing.assert_allclose(logits, expected[:end], atol=1e-4)
        assert chain.room == 0


def test_prefill_gives_the_last_tokens_logits(float_parts, config, expected):
    with chain_of(float_parts, 1, 8, config=config) as chain:
        np.testing.assert_allclose(chain.prefill(IDS[:13]), expected[12], atol=1e-4)
        np.testing.assert_allclose(chain.prefill(IDS[13:16]), expected[15], atol=1e-4, err_msg="a second prefill")
        chain.reset()
        np.testing.assert_allclose(chain.prefill(IDS[:5]), expected[4], atol=1e-4, err_msg="after a reset")


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("qwen3", {}),
        ("qwen2", {"num_splits": 1}),
        (
            "llama",
            {
                "rope_parameters": {
                    "rope_type": "llama3",
                    "rope_theta": 1e4,
                    "factor": 8.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 16,
                }
            },
        ),
    ],
)
def test_other_families_and_rotary_scaling(tmp_path: Path, family, changes):
    splits = changes.pop("num_splits", 2)
    model = save_tiny(tmp_path / "model", family, **changes)
    config = describe_model(tmp_path / "model").config
    parts = make_parts(tmp_path, open_parameters(tmp_path / "model", config), ars=[1, 8], cl=CL, num_splits=splits)
    ids = [token % 128 for token in IDS]
    with PartChain(parts, config, keep_open=True) as chain:
        rows = [*chain.logits(ids[:21]), *(chain.decode(token)[None] for token in ids[21:])]
    np.testing.assert_allclose(np.concatenate(rows), hf_logits(model, ids), atol=1e-4)


def test_quantized_parts_agree_whatever_the_ar(quantized_parts, config, expected):
    logits = {}
    for ars in ((1,), (8,), (1, 8)):
        with chain_of(quantized_parts, *ars, config=config) as chain:
            logits[ars] = np.concatenate(list(chain.logits(IDS[:21])))
    # One rounding that falls the other way is enough to part them, so this is no exact equality.
    assert sqnr_db(logits[1,], logits[8,]) > 40
    assert sqnr_db(logits[1,], logits[1, 8]) > 40
    # Keys, values and weights have 8 bits.
    assert sqnr_db(expected[:21], logits[1, 8]) > 20


def test_quantized_decoding_goes_on_from_a_quantized_prefill(quantized_parts, config):
    with chain_of(quantized_parts, 1, config=config) as chain:
        alone = all_logits(chain, 1)
    with chain_of(quantized_parts, 1, 8, config=config, keep_open=True) as chain:
        assert sqnr_db(alone, all_logits(chain, 19)) > 40


def test_parts_of_one_ar_are_open_at_a_time(float_parts, config):
    class Opened(ChainObserver):
        def __init__(self) -> None:
            self.ars: list[int] = []

        def opening(self, ar: int, parts: int) -> None:
            assert parts == 3
            self.ars.append(ar)

    def opened(keep_open: bool) -> list[int]:
        observer = Opened()
        with chain_of(float_parts, 1, 8, config=config, keep_open=keep_open, observer=observer) as chain:
            for _ in range(2):
                chain.reset()
                chain.prefill(IDS[:10])
                chain.decode(5)
                chain.decode(6)
            assert chain.load_s > 0
        return observer.ars

    assert opened(keep_open=False) == [8, 1, 8, 1]
    assert opened(keep_open=True) == [8, 1]


def test_more_tokens_than_the_context_are_refused(float_parts, config):
    with chain_of(float_parts, 1, 8, config=config) as chain:
        with pytest.raises(GenerationError, match="33 tokens do not fit: the context holds 32\n"):
            chain.prefill([5] * 33)
        chain.prefill(IDS)
        with pytest.raises(GenerationError, match="1 token does not fit: the context holds 32, 32 of them taken"):
            chain.decode(5)
        with pytest.raises(GenerationError, match="the prompt has no tokens"):
            chain.prefill([])


def test_a_token_outside_the_vocabulary_is_refused(float_parts, config):
    with chain_of(float_parts, 1, 8, config=config) as chain:
        for token in (259, -1):
            with pytest.raises(ModelError) as caught:
                chain.prefill([5, token])
            assert str(caught.value) == (
                f"prompt: token {token} is not in the model's vocabulary of 259\n"
                "  the tokenizer and the model do not belong together"
            )
        assert chain.length == 0


# Several context lengths


class OpenedParts:
    """Opens parts on the CPU, and notes the graphs of first parts."""

    def __init__(self) -> None:
        self.lengths: list[tuple[int, int]] = []

    def __call__(self, part: PartGraph) -> CpuPart:
        if part.signature.part == 1:
            self.lengths.append((part.signature.cl, part.signature.ar))
        return CpuPart(part)


@pytest.fixture(scope="module")
def short_parts(tmp_path_factory, parameters):
    """Of contexts of 12 and 20 tokens, by context length."""
    folders = {cl: tmp_path_factory.mktemp(f"short{cl}") for cl in (12, 20)}
    return {cl: make_parts(folder, parameters, ars=[1, 8], cl=cl, num_splits=3) for cl, folder in folders.items()}


@pytest.mark.parametrize("prompt", [1, 8, 11, 19, 31])
def test_a_call_runs_on_the_shortest_graphs_that_it_fits(float_parts, short_parts, config, expected, prompt):
    opened = OpenedParts()
    with chain_of(float_parts, 1, 8, config=config, open_part=opened, shorter=short_parts) as chain:
        np.testing.assert_allclose(all_logits(chain, prompt), expected, atol=1e-4)
        assert (chain.length, chain.room, chain.context_length) == (CL, 0, CL)
    assert (
        opened.lengths
        == {
            1: [(12, 1), (20, 1), (32, 1)],
            8: [(12, 8), (12, 1), (20, 1), (32, 1)],
            11: [(12, 8), (20, 8), (12, 1), (20, 1), (32, 1)],
            19: [(12, 8), (20, 8), (32, 8), (20, 1), (32, 1)],
            31: [(12, 8), (20, 8), (32, 8), (32, 1)],
        }[prompt]
    )


def test_quantized_tokens_are_those_of_the_longest_graph_alone(quantized_parts, tmp_path, parameters, config):
    short = make_parts(
        tmp_path, parameters, ars=[1, 8], cl=16, num_splits=3, encodings=measured_encodings(parameters, IDS)
    )

    def answer(**settings) -> list[int]:
        with chain_of(quantized_parts, 1, 8, config=config, **settings) as chain:
            tokens = [int(chain.prefill(IDS[:6]).argmax())]
            while chain.room:
                tokens.append(int(chain.decode(tokens[-1]).argmax()))
            return tokens

    alone = answer()
    assert len(alone) == CL - 6 + 1
    assert answer(shorter={16: short}) == alone


def test_shorter_parts_of_another_quantization_are_refused(quantized_parts, short_parts, config):
    with pytest.raises(GraphError, match="all ARs, inputs and outputs share one KV cache"):
        chain_of(quantized_parts, 1, 8, config=config, shorter=short_parts)
