"""What the processes of a run import: torch and the compiler only where they are used."""

from __future__ import annotations

from pathlib import Path

import pytest
from loaded_modules import loaded_by
from tiny_recipe import write_recipe

from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline


def test_the_emulator_starts_with_numpy_alone():
    loaded = loaded_by(
        "import qairt.runtime.part_process, qairt.runtime.pipe_protocol, qairt.toolchain.qnn.emulator, "
        "qairt.toolchain.soc"
    )
    assert "numpy" in loaded
    assert not loaded & {"torch", "onnx", "onnx_ir", "onnxruntime", "pydantic", "sympy"}


@pytest.mark.compiler
def test_graphs_are_made_without_torch(tmp_path: Path):
    recipe = write_recipe(tmp_path, hidden_size=128, intermediate_size=192)
    made = LLMPipeline.from_recipe(recipe, cache_dir=tmp_path / "cache")
    assert made.construct(RunOptions(executor="inline", until="quantization")).status == "done"
    loaded = loaded_by(
        "from qairt.engine.run.options import RunOptions\n"
        "from qairt.llm import LLMPipeline\n"
        f"made = LLMPipeline.from_recipe({str(recipe)!r}, cache_dir={str(tmp_path / 'cache')!r})\n"
        "assert made.construct(RunOptions(executor='inline')).status == 'done'"
    )
    assert {"onnxruntime", "onnx_ir"} <= loaded
    assert "torch" not in loaded
