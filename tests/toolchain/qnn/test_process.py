"""What is told of a compiler process that failed or died."""

from __future__ import annotations

import stat
import sys

import pytest

from qairt.errors import ToolchainError
from qairt.toolchain.qnn import process as qnn_process
from qairt.toolchain.qnn.process import run_job
from qairt.toolchain.vendor_process import job_folder

JOB = {"action": "dlc", "graphs": [], "options": {}}


@pytest.fixture
def compiler(tmp_path, monkeypatch):
    """Stands a shell script in the interpreter's place."""

    def make(script: str) -> None:
        path = tmp_path / "compiler"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setattr(sys, "executable", str(path))

    return make


@pytest.mark.parametrize("name", ["SEGV", "KILL", "ABRT"])
def test_a_process_that_died_is_told_with_its_signal(tmp_path, compiler, name):
    compiler(f"kill -{name} $$")
    with pytest.raises(ToolchainError) as caught:
        run_job(tmp_path, JOB, where="model_2_of_4.bin")
    assert caught.value.what == f"the QNN compiler was killed by SIG{name}"
    assert caught.value.where == "model_2_of_4.bin"


def test_operations_that_the_npu_refuses_are_named_once(tmp_path, compiler):
    line = "qnn_model_wrapper.cc:565 CreateQnnNode] QNN.backendValidateOpConfig() failed for node"
    compiler(f"""echo '{line} `norm` of type `RmsNorm` with error code 3110'
    echo '{line} `norm` of type `RmsNorm` with error code 3110' >&2
    echo '{line} `bias` of type `Dequantize` with error code 3110'
    echo '{{"error": "fallback to CPU EP has been explicitly disabled", "kind": "Fail"}}' > result.json; exit 1""")
    with pytest.raises(ToolchainError) as caught:
        run_job(tmp_path, JOB, where="part")
    assert str(caught.value) == (
        "part: the NPU does not support these operations as quantized: norm (RmsNorm), bias (Dequantize)\n"
        "  nothing falls back to the CPU; change the bit widths of these tensors, or the graph"
    )


def test_another_error_is_told_in_the_compilers_words(tmp_path, compiler):
    compiler("""echo '[E:onnxruntime:, x.cc CreateHtpPowerConfigId] Failed to create HTP power config id.'
    echo '[E:onnxruntime:, y.cc Compile] out of VTCM'; exit 3""")
    with pytest.raises(
        ToolchainError, match=r"^part: the QNN compiler failed: \[E:onnxruntime:, y.cc Compile\] out of"
    ):
        run_job(tmp_path, JOB, where="part")


@pytest.mark.parametrize("how", ["exit 1", "kill -SEGV $$"])
def test_a_known_error_is_explained_however_it_ended(tmp_path, compiler, how):
    line = "fa_alloc.cc:3866:ERROR:graph requires estimated allocation of 2347229 KB, limit is 2097152 KB"
    compiler(f"""echo '{line}'; echo 'Failed to finalize graph (id: 1) with err 1002' >&2; {how}""")
    with pytest.raises(ToolchainError) as caught:
        run_job(tmp_path, JOB, where="part")
    said = "was killed by SIGSEGV" if "SEGV" in how else "failed"
    assert str(caught.value) == (
        f"part: the QNN compiler {said}: a graph exceeds 2,097,152 KB, the limit of one serialized graph "
        f"({line})\n  increase stages.split_model.num_splits, or use fewer bits per weight"
    )


def test_an_exit_without_a_result_is_a_failure_even_with_code_0(tmp_path, compiler):
    compiler("exit 0")
    with pytest.raises(ToolchainError, match=r"^part: the QNN compiler failed: exit code 0 without a message"):
        run_job(tmp_path, JOB, where="part")


def test_what_it_prints_goes_to_the_log_as_it_is(tmp_path, compiler, capfd):
    compiler("""echo to stdout; echo to stderr >&2; echo '{"fixed_addresses": true}' > result.json""")
    assert run_job(tmp_path, JOB, where="part") == {"fixed_addresses": True}
    assert capfd.readouterr().err == "to stdout\nto stderr\n"


def test_a_workplace_is_gone_after_a_failure(tmp_path):
    def fail() -> None:
        with job_folder(tmp_path / "out") as folder:
            (folder / "left").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "out").iterdir()) == []


def test_the_environment_is_the_same_wherever_it_is_called_from(monkeypatch):
    before = qnn_process._environment()
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.setenv("ANOTHER", "x" * 100)
    assert qnn_process._environment() == before
