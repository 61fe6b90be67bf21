"""A report with every section filled, and text that needs escaping wherever text comes from outside."""

from __future__ import annotations

from dataclasses import replace

from qairt.device.genie_output import Timing
from qairt.engine.record.summary import RunSummary
from qairt.report.facts import (
    BundleFile,
    Failure,
    Fidelity,
    Lane,
    Moment,
    Output,
    Reason,
    RunReport,
    Score,
    Size,
    Speed,
    StageLine,
    StageUsage,
    Timeline,
)
from qairt.results.estimate import AtMost, ContextLength, PartSize, Workload, estimate
from qairt.toolchain.chip_sheet import sheet_of
from qairt.toolchain.soc import SOCS
from qairt.verify.result import LayerCost, PartFidelity

AWKWARD = '<script>alert(1)</script> & | `x` "y"'
STAGES = (
    "model_loading",
    "quantization",
    "export",
    "mha_to_sha_conversion",
    "generate_context_binary",
    "export_bundle",
)


def part(rung: str, number: int, db: float, needed: float) -> PartFidelity:
    return PartFidelity(
        rung=rung,
        part=number,
        isolated_db=db,
        chained_db=db - 2,
        needed_db=needed,
        max_error=1e-3,
        top1=0.61 if number == 2 else None,
        kl=0.28 if number == 2 else None,
        worst="hidden_1, AR 1, isolated",
    )


def full_report() -> RunReport:
    """A finished run with everything measured."""
    lanes = [Lane(stage, "all", 10.0 * place, 10.0 * place + 9, "done") for place, stage in enumerate(STAGES[:4])]
    lanes += [Lane(STAGES[4], f"ar128-split{split}", 40.0 + split, 60.0 + split, "done") for split in range(1, 10)]
    lanes.append(Lane(STAGES[5], "all", 70.0, 70.001, "failed"))
    parts = [part("export", 1, 300.0, 60), part("export", 2, 118.0, 60), part("quantize", 1, 31.0, 6)]
    parts.append(part("quantize", 2, 4.2, 6))
    layers = [LayerCost(name=f"layer {n}", sqnr_db=24.0 - n, kl=0.06 / (n + 1), top1=0.86) for n in range(30)]
    summary = RunSummary(
        id="0007",
        state="done",
        recipe="/home/ada/recipes/smollm2-135m.yaml",
        host="box7",
        started=1.7e9,
        seconds=80.0,
        items=15,
        counts={"done": 13, "cached": 2},
        peak_ram=1_300_000_000,
        bytes=900_000_000,
    )

    workload = Workload(
        parts=(PartSize("part 1 of 1", 120_000_000, 100_000_000),),
        measured=True,
        operations=270_000_000,
        attention=4 * 576,
        kv_bytes=2 * 3 * 64,
        contexts=(ContextLength(512, 30 * 512), ContextLength(4096, 30 * 4096)),
        prompt_ar=128,
        needs_blocks=True,
    )
    chip = estimate(workload, SOCS["SM8650"], sheet_of("SM8650"), prompt_tokens=256)
    return RunReport(
        run=summary,
        model="SmolLM2-135M-Instruct.Q4_1",
        recipe_name="smollm2-135m.yaml",
        recipe_text=f"backend: HTP\nnote: {AWKWARD}\n" + "long: " + "x" * 300,
        recipe_digest="ab" * 32,
        created_at=1.7e9 + 100,
        missing=[],
        notes=[f"The recipe has changed since this run: stages.quantization.recipe {AWKWARD} → lpbq.yaml."],
        failures=[],
        stages=[
            StageLine(
                name=stage,
                built=1,
                cached=place % 2,
                failed=0,
                pending=0,
                usage=StageUsage(9.0, 15.5, 400_000_000, 10**9, 10**8),
                size=660_000_000,
                earlier="run 0003" * (place == 1),
            )
            for place, stage in enumerate(STAGES)
        ],
        reasons=[
            Reason(f"stages.quantization.recipe: {AWKWARD}", 1, [("quantization", "")]),
            Reason(
                "quantization all is made again", 12, [("generate_context_binary", "ar1-split1, ar1-split2 and 7 more")]
            ),
        ],
        timeline=Timeline(
            run_id="0007",
            seconds=80.0,
            cores=8,
            lanes=lanes,
            moments=[Moment(float(n), 10**8 * (1 + n % 9), 90.0 + n, 3 * 10**9 + n) for n in range(80)],
            gpu_total=24 * 10**9,
            is_earlier=False,
        ),
        sizes=[
            Size("input model", 1, 91_000_000),
            Size("float graph (ONNX)", 3, 660_000_000, "export"),
            Size("quantized graphs (DLC)", 8, 344_000_000, "quantize"),
            Size("context binaries", 4, 120_000_000, "generate_context_binary"),
            Size("device bundle", 21, 121_000_000, "export_bundle"),
        ],
        fidelity=Fidelity(parts, parts[-1], layers, {"export": 256, "quantize": 256}),
        scores=[
            Score("perplexity", "12 chunks of dev.txt", False, 40.28, {"quantsim": 46.91, "cpu": 47.17}),
            Score("top1 agreement", "4 chunks of dev.txt", True, None, {"cpu": 0.6937}),
        ],
        speed=Speed(
            rows=[("time to first token", "178.4 (174.5 to 277.6) ms"), ("decode", "17.3 (11.9 to 22.0) tokens/s")],
            warning="Other programs used 1.2 cores during the measurement: an idle machine is faster.",
            operators={"prefill": [("aten::mm", 770.7, 0.75), ("aten::mul", 57.7, 0.06)], "decode": []},
            answers=[(f"Why? {AWKWARD}", f"The sky {AWKWARD}")],
        ),
        at_most=AtMost(workload, chip, Timing(tokens_per_second=41.5)),
        outputs=[Output("quantization", "visualization", "written", "quantization/viz", ("gallery.html",))],
        bundle=[
            BundleFile("weight_sharing_model_1_of_4.serialized.bin", 28_000_000, "cd" * 32),
            BundleFile("SHA256SUMS", 900, "ef" * 32),
        ],
        tools={
            "python": "3.11.9",
            "system": "Linux 6.1, x86_64",
            "toolchains": ["onnxruntime 1.31.1, onnxruntime-qnn 2.7.0"],
            "packages": {"qairt": "0.1.0", "torch": "2.13.0", "onnxruntime": "1.31.1"},
        },
        machine=[("Machine", "box7"), ("Cores", "8"), ("RAM", "16.0 GB")],
    )


def broken_report() -> RunReport:
    """A run that failed early, without measurements."""
    full = full_report()
    return replace(
        full,
        run=full.run.model_copy(update={"state": "failed", "failed": ("export all",)}),
        missing=[
            "Run 0007 failed after 12.0 s: 1 item failed, 9 items of 15 not built. Resume it with: qairt run r.yaml"
        ],
        failures=[Failure("export all", f"no space left {AWKWARD}", "free the disk", ["a line of the log", AWKWARD])],
        timeline=None,
        sizes=[],
        fidelity=None,
        scores=[],
        speed=None,
        at_most=None,
        outputs=[],
        bundle=[],
        tools={},
    )
