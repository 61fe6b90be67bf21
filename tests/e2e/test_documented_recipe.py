"""The annotated recipe of the vendor's documentation runs: every key of it, with lengths for a tiny model."""

from __future__ import annotations

from pathlib import Path

from tiny_recipe import TEXT, write_model

from qairt.cli.main import main
from qairt.engine.run.options import RunOptions
from qairt.llm import LLMPipeline

ANNOTATED = """\
model_id_or_path: model
backend: {backend}
soc_details: "chipset:SM8850"
enable_observers: true
enable_cache: true
cache_dir: {cache}
checkpoint: quantization
log_level: info
generator_config:
  sequence_length: 8
  context_length: 32
evaluator_config:
  context_length: 16
  metrics:
    - name: perplexity
      dataset: text.txt
      display_name: PPL_text
features:
  lora:
    adapters: {{}}
stages:
  model_loader:
    model_reauthoring: true
    apply_default_adaptations: true
    execution_environment: gpu
    hf_tokenizer_kwargs:
      trust_remote_code: true
    hf_pretrained_kwargs:
      dtype: float32
      attn_implementation: eager
    model_config_overrides:
      num_logits_to_keep: 0
      transposed_key_cache: true
      return_new_key_value_only: true
      input_tokens_per_inference: 8
  quantization:
    recipe_name: lpbq_seqmse
    calibration_text: text.txt
    calibration_chunks: 2
    calibration_length: 32
    exporter_config:
      args: {{opset_version: 17}}
  genai_builder:
    native_kv: true
    weight_sharing: true
    transform_options:
      arn: [1, 8]
      split.num_splits: 3
      split.split_embedding: true
    calibration_options:
      act_precision: 16
      bias_precision: 32
    compile_options:
      graphs.hvx_threads: 4
      graphs.optimization_type: 2
      devices.cores.perf_profile: burst
"""


def test_it_runs_and_is_evaluated_on_the_cpu(tmp_path: Path, capsys):
    write_model(tmp_path / "model")
    (tmp_path / "text.txt").write_text(TEXT)
    recipe = tmp_path / "annotated.yaml"
    recipe.write_text(ANNOTATED.format(backend="cpu", cache=tmp_path / "cache"))
    made = LLMPipeline.from_recipe(recipe).construct(RunOptions(executor="inline"))
    assert made.status == "done"
    assert made.settings.generator.sequence_length == 8
    assert (made.settings.enable_cache, made.stages.quantization.checkpoint) == (True, True)
    assert len(made.generate("Hello", max_new_tokens=3).tokens) == 3
    assert list(made.evaluate()) == ["PPL_text"]
    assert main(["run", str(recipe), "--no-tui"]) == 0
    out = capsys.readouterr().out
    assert "annotated.yaml:27: stages.model_loader.hf_tokenizer_kwargs.trust_remote_code has no equivalent" in out
    assert "opset_version has no equivalent" in out
