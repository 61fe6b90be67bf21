"""`qairt verify` on the command line: the table, the verdict, exit codes, `--json`."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tiny_recipe import write_recipe

from qairt.cli.commands.verify import as_data
from qairt.cli.main import main
from qairt.cli.text.verification import layer_lines, verification_lines
from qairt.verify.result import (
    LayerCost,
    OutputFidelity,
    RungFidelity,
    SkippedRung,
    TokenFidelity,
    VectorFidelity,
    Verification,
)

NEEDED = {"split_model": 100.0, "quantize": 10.0, "htp_emulator": 10.0}


def output(part: int, db: float, **more: object) -> OutputFidelity:
    fields = {"ar": 8, "way": "chained", "output": "hidden_1", "tokens": 8, "max_error": 0.5} | more
    return OutputFidelity(part=part, sqnr_db=db, **fields)  # type: ignore[arg-type]


FOUND = Verification(
    rungs=(
        RungFidelity(rung="split_model", tokens=8, seconds=1, outputs=(output(1, 300.0), output(2, 120.0))),
        RungFidelity(
            rung="quantize",
            tokens=8,
            seconds=2,
            outputs=(
                output(1, 40.0, way="isolated"),
                output(2, 2.0),
                output(2, 9.5, way="isolated", first_token_db=1.0),
                output(2, 30.0, way="isolated", output="logits", top1=0.5, kl=0.25),
            ),
            layers=(
                LayerCost(name="lm_head", sqnr_db=30, kl=0.035, top1=0.9),
                LayerCost(name="layer 0", sqnr_db=12, kl=0.2, top1=0.5),
            ),
        ),
    ),
    skipped=(SkippedRung(rung="htp_emulator", why="backend: CPU builds nothing for the NPU"),),
    min_sqnr_db=NEEDED,
    reused=("split_model",),
)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A run for backend CPU up to the float graphs."""
    folder = tmp_path_factory.mktemp("verified")
    path = write_recipe(folder, backend="CPU", technique="minmax.yaml")
    cache = ("--cache-dir", str(folder / "cache"))
    assert main(["run", str(path), *cache, "--until", "prepare_exports", "--executor", "inline"]) == 0
    return path, *cache


def test_the_table_names_the_worst_output_and_the_first_part_below():
    assert verification_lines(FOUND) == [
        "part  isolated  chained  top-1    KL  max error  worst output",
        "split_model, at least 100 dB",
        "   1              equal                 5.0e-01  hidden_1      ok",
        "   2              120.0                 5.0e-01  hidden_1      ok",
        "quantize, at least 10 dB",
        "   1      40.0                          5.0e-01  hidden_1      ok",
        "   2       9.5      2.0  50.0%  0.25    5.0e-01  hidden_1      LOW",
        "htp_emulator: skipped: backend: CPU builds nothing for the NPU",
        "",
        "Loss at the logits from quantizing one module alone (simulated; 2 of 2):",
        "module      KL  top-1  own SQNR",
        "layer 0    0.2  50.0%      12.0  ########################################",
        "lm_head  0.035  90.0%      30.0  #######",
        "",
        "first below its threshold: quantize, part 2: hidden_1, AR 8, isolated has 9.5 dB, the threshold is 10 dB"
        " (2.0 s, 1 rung reused)",
    ]


def spoken(*found: int, margin: float | None = None) -> Verification:
    """Genie alone, beside a CPU that says 5, 600, 7."""
    tokens = TokenFidelity(
        rung="genie",
        prompt=(1,) * 8,
        cpu=(5, 600, 7),
        found=found,
        margin=margin,
        seconds=140.0,
        seconds_a_token=12.34,
    )
    return Verification(rungs=(), skipped=(), min_sqnr_db=NEEDED, tokens=(tokens,))


def test_both_runtimes_tokens_stand_one_above_the_other():
    assert verification_lines(spoken(5, 600, 7)) == [
        "genie: 3 tokens after 8 tokens of text, 12.3 s per token",
        "  cpu      5 600   7",
        "  genie    5 600   7",
        "  identical",
        "",
        "identical to the CPU (2 min 20 s)",
    ]


@pytest.mark.parametrize(
    ("margin", "passes", "line", "verdict"),
    [
        (0.03, True, "by a logit margin of 0.03 (a tie: up to 0.5 is allowed)", "identical to the CPU (2 min 20 s)"),
        (
            2.5,
            False,
            "by a logit margin of 2.50 (at most 0.5 is allowed)",
            "genie generates other tokens than the CPU with the same parts ",
        ),
    ],
)
def test_a_near_tie_is_distinguished_from_a_fault(margin, passes, line, verdict):
    found = spoken(5, 601, 9, margin=margin)
    assert found.passes is passes
    *_, difference, _, last = verification_lines(found)
    assert difference == f"  they differ from token 2 on: the CPU prefers its own {line}"
    assert last.startswith(verdict)
    assert (found.first_differing() is None) is passes


@pytest.mark.parametrize(
    ("decibels", "passes", "verdict"),
    [
        ((39.0, 29.72), True, "as the CPU, but for rounding (14.5 s)"),
        (
            (39.0, 12.34),
            False,
            "genie makes other vectors than the CPU with the same parts: 12.3 dB, the threshold is 20 dB (14.5 s)",
        ),
    ],
)
def test_vectors_of_a_runtime_are_judged_by_the_farther_text(decibels, passes, verdict):
    vectors = VectorFidelity(
        rung="genie", tokens=(16, 8), values=64, sqnr_db=decibels, cosine=(0.99994, 0.99947), seconds=14.54
    )
    found = Verification(rungs=(), skipped=(), min_sqnr_db=NEEDED, vectors=(vectors,))
    line, _, last = verification_lines(found)
    assert line == (
        f"genie: at least {decibels[1]:.1f} dB against the CPU's vectors with the same parts, cosine 0.99947 (texts of"
        " 16 and 8 tokens; the threshold is 20 dB)"
    )
    assert (found.passes, last) == (passes, verdict)
    assert as_data(found)["vectors"] == [vectors.model_dump(mode="json") | {"passes": passes}]


WIDEST = Verification(
    rungs=(
        RungFidelity(
            rung="quantize",
            tokens=256,
            seconds=2,
            outputs=(
                output(12, -123.4, way="isolated", output="past_value_29_out", ar=128, max_error=1.2e-10),
                output(12, -123.4, output="logits", ar=128, top1=1.0, kl=1.2e-10),
            ),
            layers=tuple(LayerCost(name=f"layer {n}", sqnr_db=-123.4, kl=1.2e-10 * n, top1=1.0) for n in range(1, 31)),
        ),
    ),
    skipped=(),
    min_sqnr_db=NEEDED,
)


class Terminal(io.StringIO):
    """A screen that knows some characters."""

    def __init__(self, encoding):
        super().__init__()
        self.encoding = encoding

    encoding = ""

    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("columns", "encoding", "bars"),
    [
        (80, "utf-8", ["█" * 40, "█" * 38 + "▋", "█" * 37 + "▍"]),
        (80, "iso8859-1", ["#" * 40, "#" * 39, "#" * 37]),
        (56, "utf-8", ["█" * 19, "█" * 18 + "▍", "█" * 17 + "▊"]),
    ],
)
def test_bars_on_a_terminal(columns, encoding, bars, monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal(encoding))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    (rung,) = WIDEST.rungs
    title, header, *rows = layer_lines(rung)
    assert title.endswith("(simulated; 8 of 30):")
    assert [row.split()[-1] for row in rows[:3]] == bars
    assert [row.split()[:2] for row in rows] == [["layer", str(n)] for n in range(30, 22, -1)]
    assert max(map(len, (header, *rows))) <= columns


def test_it_fits_80_columns(monkeypatch):
    monkeypatch.setattr("sys.stdout", Terminal("utf-8"))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    lines = [line for text in verification_lines(WIDEST) for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "  12    -123.4   -123.4  100.0%  1.2e-10    5.0e-01  past_value_29_out  LOW" in lines


def test_exit_code_0_and_progress_beside_the_answer(qairt, recipe):
    said = qairt("verify", *recipe)
    assert said.code == 0
    assert "export: part 2 of 3, AR 8\n" in said.err
    assert "skipped: 6 of 6 items are not built yet: split_model ar1-split1; " in said.out
    assert "all parts are above their thresholds" in said.out
    again = qairt("verify", *recipe)
    assert again.err == ""
    assert "(0.0 s, 2 rungs reused)" in again.out


def test_exit_code_1_below_a_threshold_of_the_recipe(qairt, recipe):
    path, *cache = recipe
    said = qairt("verify", path, "verify.min_sqnr_db.prepare_exports=250", "--json", *cache)
    assert said.code == 1
    assert said.data["first_below"]["rung"] == "prepare_exports"
    assert said.data["first_below"]["part"] == 2
    assert said.data["min_sqnr_db"]["export"] == 60.0
    assert [part["passes"] for part in said.data["parts"]] == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (["--rung", "splits"], "Error: --rung: there is no rung splits\n  the rungs are export, prepare_exports, "),
        (["--part", "9"], "Error: --part: there is no part 9\n  the model has parts 1 to 3\n"),
        (["verify.min_sqnr_db.quantise=3"], "Error: command line: verify.min_sqnr_db.quantise is not a setting of "),
    ],
)
def test_bad_words(qairt, recipe, words, err):
    path, *cache = recipe
    said = qairt("verify", path, *words, *cache)
    assert said.code == 2
    assert said.err.startswith(err)


def test_before_a_run_it_names_the_command_to_run(qairt, recipe):
    path = recipe[0]
    said = qairt("verify", path, "--cache-dir", "fresh")
    assert said.code == 1
    assert said.err.startswith("Error: model_loading all: nothing to compare with yet: not built yet")
    assert said.err.endswith(f"  qairt run {path} --cache-dir {Path.cwd() / 'fresh'}\n")
