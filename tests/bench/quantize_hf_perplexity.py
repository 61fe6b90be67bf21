"""Perplexity of a checkpoint by transformers: `python quantize_hf_perplexity.py JOB.json RESULT.json`.

Runs in AIMET's environment and asks nothing of qairt.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from quantize_measure import machine, perplexity
from torch import Tensor


def main(job: dict[str, Any]) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(job["threads"])
    model = AutoModelForCausalLM.from_pretrained(job["checkpoint"], dtype=torch.float32).eval()

    def logits(ids: NDArray[np.integer]) -> Tensor:
        return model(input_ids=torch.from_numpy(ids)[None], use_cache=False).logits[0]

    return {"perplexity": perplexity(logits, list(np.load(job["evaluation"]))), **machine()}


if __name__ == "__main__":
    result = main(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1) + "\n")
