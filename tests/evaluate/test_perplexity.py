from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_parameters import TOKENS, tiny_parameters

from qairt.evaluate.perplexity import perplexity
from qairt.model.reference import Reference
from qairt.quant.encodings import Encodings


def test_it_equals_perplexity_from_the_whole_logits(tmp_path: Path) -> None:
    parameters = tiny_parameters(tmp_path)
    chunks = [*TOKENS, TOKENS[0][:9]]
    losses = []
    for chunk in chunks:
        rows = Reference(parameters).logits(chunk)[:-1].double().log_softmax(-1)
        losses += (-rows[torch.arange(len(rows)), torch.from_numpy(chunk[1:])]).tolist()
    expected = math.exp(float(np.mean(losses)))
    for threads in (1, 2):
        assert perplexity(parameters, Encodings(), chunks, threads=threads) == pytest.approx(expected, rel=1e-5)
