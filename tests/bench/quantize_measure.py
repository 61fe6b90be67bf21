"""What both sides of the quantization benchmark are measured with. Needs torch and nothing of qairt: AIMET's
environment runs it too."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


def peak_rss() -> int:
    """The most resident bytes this process had so far.

    Not `getrusage`: on Linux a child begins with the peak of the process that started it.
    """
    found = _PEAK.search(Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def machine() -> dict[str, Any]:
    """What seconds depend on."""
    return {"cores": len(os.sched_getaffinity(0)), "load": round(os.getloadavg()[0], 2), "torch": torch.__version__}


def perplexity(logits: Callable[[NDArray[np.integer]], Tensor], chunks: Sequence[NDArray[np.integer]]) -> float:
    """exp of the mean negative log-likelihood of tokens 2 … of each chunk, each a sequence of its own.

    Args:
        logits: token ids [T] -> [T, vocab].
    """
    total, count = 0.0, 0
    for chunk in chunks:
        with torch.inference_mode():
            log_probabilities = logits(chunk[:-1]).log_softmax(-1)
        targets = torch.from_numpy(np.asarray(chunk[1:], np.int64))
        total -= float(log_probabilities.gather(1, targets[:, None]).double().sum())
        count += len(targets)
    return math.exp(total / count)
