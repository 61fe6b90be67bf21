"""Embedding models from a folder to vectors: what transformers computes, on every target of this machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from family_gguf import write_embedder
from genie_run import command
from tiers import COMPILED_EMBEDDERS
from tiny_embedders import EMBEDDERS, decibel, tokens, write_embedder_recipe
from tokenizers import Tokenizer

from qairt.engine.record.folder import run_folders
from qairt.engine.record.summary import read_state
from qairt.engine.run.options import RunOptions
from qairt.errors import QairtError, RecipeError
from qairt.graph import files
from qairt.llm import LLMPipeline
from qairt.report.fidelity import fidelity_of

TEXTS = ["a cat sat", "The quick br", "x"]
matrix = pytest.mark.matrix


def built(path: Path, until: str | None = None) -> LLMPipeline:
    pipeline = LLMPipeline.from_recipe(path, cache_dir=path.parent / "cache")
    result = pipeline.construct(RunOptions(executor="inline", jobs=1, until=until)).result
    assert result.status == "done", result.failed
    return pipeline


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "gemma3_text" else matrix) for name in EMBEDDERS]
)
def test_a_run_for_the_cpu(tmp_path: Path, name: str) -> None:
    path, made = write_embedder_recipe(tmp_path, name, without=["generate_context_binary"])
    pipeline = built(path)
    expected = np.stack([made.vector(tokens(tmp_path, text)) for text in TEXTS])
    floats, found = pipeline.embed(TEXTS, target="torch"), pipeline.embed(TEXTS)
    assert decibel(expected, floats.vectors) > 100
    assert decibel(expected, found.vectors) > 15
    assert found.tokens == tuple(len(tokens(tmp_path, text)) for text in TEXTS)
    assert np.diag(found.cosines) == pytest.approx(1)

    single = files.load(next((tmp_path / "cache").glob("**/mha_to_sha_conversion/*/ar16-cl16_2_of_3.onnx")))
    names = [value.name for node in single.graph for value in node.outputs]
    assert "layers.0.attn.scores.h3" in names, "its heads are apart though it has no cache"
    assert [value.name for value in single.graph.inputs] == ["hidden_0", "attention_mask"]

    verified = pipeline.verify()
    assert verified.passes
    heads = [part for part in verified.parts() if part.worst.startswith("pooled_output")]
    assert {part.rung for part in heads} >= {"export", "split_model", "quantize"}
    for part in heads:
        assert part.judged_db > (15 if part.rung == "quantize" else 100), part
    assert sorted(path.name for path in (tmp_path / "cache" / "export_bundle").glob("part_*")) == [
        "part_1_of_3",
        "part_2_of_3",
        "part_3_of_3",
    ]


@pytest.mark.parametrize("name", ["gemma3_text", pytest.param("qwen3", marks=matrix)])
def test_a_run_from_a_gguf_file(tmp_path: Path, name: str) -> None:
    unused = ["mha_to_sha_conversion", "convert", "generate_context_binary", "export_bundle"]
    own = {"query_pre_attn_scalar": 16} if name == "gemma3_text" else {}  # the width of a head, as llama.cpp scales
    path, made = write_embedder_recipe(tmp_path, name, without=unused, **own)
    more = {"attention.sliding_window_pattern": 2} if name == "gemma3_text" else {}
    tokenizer = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    write_embedder(tmp_path / "m.gguf", made, more, tokenizer=tokenizer)
    path.write_text(path.read_text().replace("model_id_or_path: model\n", "model_id_or_path: m.gguf\n"))
    pipeline = built(path)
    expected = np.stack([made.vector(tokens(tmp_path, text)) for text in TEXTS])
    assert decibel(expected, pipeline.embed(TEXTS, target="torch").vectors) > 100
    found = pipeline.embed(TEXTS)
    assert decibel(expected, found.vectors) > 15
    assert found.tokens == tuple(len(tokens(tmp_path, text)) for text in TEXTS), "an end after each text"


def test_the_commands(tmp_path: Path) -> None:
    path, _ = write_embedder_recipe(tmp_path, "qwen3", without=["generate_context_binary", "export_bundle"])
    built(path)
    code, out, err = command("embed", path, "a cat", "a dog", "--cache-dir", tmp_path / "cache")
    assert (code, err) == (0, "64 values each; --json prints them\n")
    first, second = out.splitlines()
    assert first.split()[:2] == ["1", "1.000"]
    assert second.endswith("6 tokens  a dog")
    code, out, _ = command(
        "embed", path, "a cat", "--prompt", "query", "--target", "torch", "--json", "--cache-dir", tmp_path / "cache"
    )
    (made,) = json.loads(out)["texts"]
    assert (code, made["text"], len(made["vector"])) == (0, "search: a cat", 64)

    model = tmp_path / "model"
    refusals = {
        ("embed", path, "a" * 40): (
            f"Error: {'a' * 40!r}: a text of 41 tokens does not fit: the longest graph reads 16\n"
            "  shorten it, or set a larger context length in stages.prepare_exports and run again\n"
        ),
        ("embed", path, "a", "--prompt", "passage"): (
            f"Error: {model / 'config_sentence_transformers.json'}: the model has no prompt 'passage'\n"
            "  it has: query, document; or put the words before the text yourself\n"
        ),
    }
    generates_none = (
        f"Error: {model}: this is an embedding model: it makes a vector of a text, and generates none\n"
        f"  qairt embed {path} --cache-dir {path.parent / 'cache'} TEXT …\n"
    )
    refusals |= dict.fromkeys([("generate", path, "Hi"), ("estimate", path)], generates_none)
    for words, message in refusals.items():
        code, out, err = command(*words, "--cache-dir", tmp_path / "cache")
        assert (code != 0, out, err) == (True, "", message)


def test_what_an_embedding_model_cannot_have_is_told_before_work(tmp_path: Path) -> None:
    path, _ = write_embedder_recipe(tmp_path, "qwen3", without=["generate_context_binary"])
    recipe = yaml.safe_load(path.read_text())

    def refused(**changes: object) -> str:
        stages = recipe["stages"] | {name: recipe["stages"][name] | value for name, value in changes.items()}
        path.write_text(yaml.safe_dump(recipe | {"stages": stages}, sort_keys=False))
        with pytest.raises(QairtError) as caught:
            LLMPipeline.from_recipe(path, cache_dir=tmp_path / "cache").plan()
        return str(caught.value)

    assert "the last norm is not followed by a linear that could take its weight" in refused(
        quantization={"recipe": "lpbq_rotated.yaml"}
    )
    assert "onnxruntime-genai generates text, and an embedding model makes vectors" in refused(
        export_bundle={"format": "ort"}
    )


@matrix
@pytest.mark.compiler
@pytest.mark.parametrize("single_heads", [True, False], ids=["single", "together"])
@pytest.mark.parametrize("name", COMPILED_EMBEDDERS)
def test_a_bundle_makes_in_genie_what_the_cpu_makes(tmp_path: Path, name: str, single_heads: bool) -> None:
    pytest.importorskip("onnxruntime_qnn")
    without = ["convert"] if single_heads else ["convert", "mha_to_sha_conversion"]
    path, made = write_embedder_recipe(tmp_path, name, backend="HTP", without=without)
    recipe = yaml.safe_load(path.read_text())
    recipe["stages"]["generate_context_binary"] = {"emulate": "all"}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    pipeline = built(path)
    expected = np.stack([made.vector(tokens(tmp_path, text)) for text in TEXTS])
    cpu = pipeline.embed(TEXTS).vectors
    assert decibel(cpu, pipeline.embed(TEXTS, target="htp-emulator").vectors) > 40
    genie = pipeline.embed(TEXTS, target="genie").vectors  # its padding is on the other side, so it rounds otherwise
    print(name, decibel(expected, cpu), decibel(expected, genie), decibel(cpu, genie))
    assert decibel(expected, genie) > decibel(expected, cpu) - 2
    assert decibel(cpu, genie) > 20

    verified = pipeline.verify("genie")
    (rung,) = verified.vectors
    assert (verified.passes, rung.tokens, rung.values) == (True, (16, 8), 64)
    assert min(rung.sqnr_db) > 20
    assert min(rung.cosine) > 0.99
    assert pipeline.verify("genie").reused == ("genie",)
    (folder,) = run_folders(pipeline.state_folder)
    reported = fidelity_of(pipeline.cache, read_state(folder), {}, {})
    assert reported is not None
    assert (reported.vectors, reported.verdict) == ((rung,), "good")
    asked = ["verify", path, "--rung", "genie", "--cache-dir", tmp_path / "cache", "verify.min_cpu_db=90"]
    code, out, _ = command(*asked)
    assert code == 1
    assert f"genie makes other vectors than the CPU with the same parts: {min(rung.sqnr_db):.1f} dB" in out
    with pytest.raises(RecipeError, match="--part: Genie returns a vector, and one part alone gives none"):
        pipeline.verify("genie", part=1)

    code, out, _ = command("bundle", "check", tmp_path / "cache" / "export_bundle")
    assert code == 0, out
    assert "Genie accepts the configuration and loads all binaries" in out
