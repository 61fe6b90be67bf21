"""AIMET's own SeqMSE, run in its environment: `python quantize_aimet_seqmse.py JOB.json RESULT.json`.

4 bits in blocks of 64 inputs (LPBQ) for the decoder layers' linears, 8 bits for embedding (one scale) and lm_head (per
channel), 16 for the norms. Activations stay float. Writes the weights as they are after quantization as a checkpoint,
and the seconds and memory of the way there. Asks nothing of qairt.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

started = time.perf_counter()

import numpy as np  # noqa: E402 - importing counts
import torch  # noqa: E402
from quantize_measure import machine, peak_rss  # noqa: E402
from torch import Tensor, nn  # noqa: E402

BLOCK = 64


class Logits(nn.Module):
    """The language model from ids to logits and nothing else, which can be traced."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        return self.model(input_ids=ids, use_cache=False).logits


def make_sim(checkpoint: Path, ids: Tensor) -> Any:
    """AIMET's simulation of the checkpoint with the grids above, not calibrated."""
    from aimet_torch import QuantizationSimModel
    from aimet_torch.nn.transformers.models.llama import modeling_llama  # noqa: F401 - registers RMSNorm
    from aimet_torch.quantization.affine import QuantizeDequantize
    from aimet_torch.quantsim.config_utils import set_grouped_blockwise_quantization_for_weights
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32, attn_implementation="eager")
    sim = QuantizationSimModel(
        Logits(model.eval()), ids, default_param_bw=8, default_output_bw=16, in_place=True, config_file="htp_v73"
    )
    set_grouped_blockwise_quantization_for_weights(
        sim, arg=decoder_linears(sim), bitwidth=4, symmetric=True, decompressed_bw=8, block_size=BLOCK
    )
    for _, module in sim.named_qmodules():
        if "RMSNorm" in type(module).__name__:
            module.param_quantizers["weight"] = QuantizeDequantize((), 16, symmetric=False)
    return sim


def decoder_linears(sim: Any) -> list[nn.Module]:
    return [module for name, module in sim.named_qmodules() if isinstance(module, nn.Linear) and "lm_head" not in name]


@torch.inference_mode()
def write_quantized(sim: Any, checkpoint: Path, output: Path, ids: Tensor) -> dict[str, Any]:
    """Every weight on its grid as a checkpoint of its own, shown to give the simulation's logits."""
    from aimet_torch.utils import remove_activation_quantizers
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM

    weights = {}
    for name, module in sim.named_qmodules():
        for parameter, quantizer in module.param_quantizers.items():
            if quantizer is not None:
                value = quantizer(getattr(module, parameter)).detach()
                weights[f"{name}.{parameter}".removeprefix("model.")] = value.as_subclass(Tensor).contiguous()
    output.mkdir(parents=True, exist_ok=True)
    save_file(weights, output / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((checkpoint / "config.json").read_text()) | {"tie_word_embeddings": False}
    (output / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    with remove_activation_quantizers(sim.model):
        simulated = sim.model(ids).as_subclass(Tensor)
    model, loading = AutoModelForCausalLM.from_pretrained(
        output, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    difference = float((model(input_ids=ids, use_cache=False).logits - simulated).abs().max())
    assert difference < 1e-3, f"the written weights give other logits than AIMET's simulation: {difference}"
    missing = [*loading["missing_keys"], *loading["unexpected_keys"]]
    assert not missing, missing
    return {"logit_difference": difference, "quantized_parameters": len(weights)}


def main(job: dict[str, Any]) -> dict[str, Any]:
    import aimet_torch
    from aimet_torch.seq_mse import apply_seq_mse

    torch.manual_seed(0)
    torch.set_num_threads(job["threads"])
    batches = [torch.from_numpy(chunk)[None] for chunk in np.load(job["calibration"])]
    sim = make_sim(Path(job["checkpoint"]), batches[0])
    head = [module for name, module in sim.named_qmodules() if "lm_head" in name]
    linears = decoder_linears(sim)
    before = peak_rss()
    print(f"SeqMSE of {len(linears)} linears over {len(batches)} x {batches[0].shape[1]} tokens", flush=True)
    begun, begun_cpu = time.perf_counter(), time.process_time()
    if job["candidates"]:
        with torch.no_grad():
            apply_seq_mse(sim, batches, num_candidates=job["candidates"], modules_to_exclude=head)
    searched, cpu = time.perf_counter() - begun, time.process_time() - begun_cpu
    for _, module in sim.named_qmodules():
        module.compute_param_encodings()
    peak = peak_rss()  # before the weights are written and checked, which is the benchmark's own
    seconds = time.perf_counter() - started
    print(f"{searched:.1f} s, peak {peak / 1e6:,.0f} MB", flush=True)
    return {
        "seconds": searched,
        "cpu_seconds": cpu,
        "seconds_of_all": seconds,
        "peak_rss": peak,
        "peak_rss_before": before,
        "linears": len(linears),
        "aimet": aimet_torch.__version__,
        **machine(),
        **write_quantized(sim, Path(job["checkpoint"]), Path(job["output"]), batches[0]),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    logging.getLogger().setLevel(logging.WARNING)
    result = main(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[2]).write_text(json.dumps(result, indent=1) + "\n")
