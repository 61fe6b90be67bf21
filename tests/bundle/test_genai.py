"""`genai_config.json` and the graphs beside it; run by onnxruntime-genai itself where that is installed."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tiny_bundle import CL, TinyModel, composed
from tiny_parts import make_parts, measured_encodings

from qairt.bundle.chat_prompt import PromptAffixes
from qairt.bundle.contents import Contents, PlacedGraph
from qairt.bundle.genai_config import genai_config, pad_token
from qairt.bundle.genai_graphs import write_logits, write_positions
from qairt.bundle.run_scripts import ort_script
from qairt.errors import ModelError, RecipeError
from qairt.graph.tensors import TensorSpec
from qairt.model.parameters import open_parameters
from qairt.model.rope import rotary
from qairt.model.tokenizer import Tokenizer
from qairt.runtime.chain import PartChain
from qairt.runtime.stored import to_real, to_stored


@pytest.fixture(scope="module")
def bundle(tiny: TinyModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return composed(tiny.onnx(), tmp_path_factory.mktemp("cpu") / "bundle", "ort")


def chains(tiny: TinyModel, *ars: int) -> dict[int, list[PlacedGraph]]:
    return {
        ar: [PlacedGraph(part.signature.graph_name, part.signature, f"{ar}.onnx", None) for part in tiny.parts[ar]]
        for ar in ars
    }


def test_sizes_are_the_models(bundle: Path):
    model = json.loads((bundle / "genai_config.json").read_bytes())["model"]
    decoder = model["decoder"]
    assert (model["vocab_size"], model["context_length"], model["eos_token_id"]) == (260, CL, 256)
    assert (decoder["num_hidden_layers"], decoder["num_key_value_heads"], decoder["head_size"]) == (2, 2, 16)
    assert decoder["sliding_window"] == {"window_size": 8, "pad_value": 128, "alignment": "right"}


def test_the_prompt_and_each_token_have_graphs_of_their_own(bundle: Path):
    (stages,) = json.loads((bundle / "genai_config.json").read_bytes())["model"]["decoder"]["pipeline"]
    assert list(stages) == [
        "positions",
        *(f"prompt_{part}_of_3" for part in (1, 2, 3)),
        *(f"token_{part}_of_3" for part in (1, 2, 3)),
        "logits",
    ]
    assert stages["prompt_2_of_3"]["filename"] == "part_2_of_3/ar8-cl32_2_of_3.onnx"
    assert (stages["token_1_of_3"]["run_on_prompt"], stages["token_1_of_3"]["run_on_token_gen"]) == (False, True)


@pytest.mark.parametrize("prompt", ["Hi", "abcdefgh", "The quick br", "The quick brown fox j"])
def test_onnxruntime_genai_gives_the_tokens_of_our_own_chain(bundle: Path, tiny: TinyModel, prompt: str):
    """Prompts shorter than a window, one window long, and longer; in a process of its own."""
    pytest.importorskip("onnxruntime_genai")
    ids = Tokenizer.from_directory(bundle).encode(prompt)
    assert genai_tokens(bundle, ids, 6) == our_tokens(tiny, ids, 6)


def genai_tokens(folder: Path, ids: Sequence[int], count: int, before: str = "") -> list[int]:
    """The likeliest tokens after `ids`, by onnxruntime-genai in a process of its own."""
    code = before + (
        "import sys, numpy, onnxruntime_genai as og\n"
        "model = og.Model(sys.argv[1]); settings = og.GeneratorParams(model)\n"
        "settings.set_search_options(max_length=32, do_sample=False); made = og.Generator(model, settings)\n"
        "made.append_tokens(numpy.array([eval(sys.argv[2])], numpy.int32))\n"
        "for _ in range(int(sys.argv[3])): made.generate_next_token(); print('token', made.get_next_tokens()[0])\n"
    )
    words = [sys.executable, "-c", code, str(folder), str(list(ids)), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return [int(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("token ")]


def our_tokens(tiny: TinyModel, ids: Sequence[int], count: int) -> list[int]:
    chain = PartChain(tiny.parts, tiny.config)
    found = [int(np.argmax(chain.prefill(ids)))]
    while len(found) < count:
        found.append(int(np.argmax(chain.decode(found[-1]))))
    return found


def test_the_script_answers(bundle: Path):
    pytest.importorskip("onnxruntime_genai")
    done = subprocess.run([sys.executable, bundle / "run_ort.py", "Hi"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) > 1
    words = [sys.executable, bundle / "run_ort.py", "x" * 7]  # 24 tokens with the template's
    done = subprocess.run(words, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    words[-1] += "x"
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = "25 prompt tokens leave no room for an answer: at most 24 of 32 may be the prompt\n"
    assert (done.returncode, done.stderr) == (1, told)
    done = subprocess.run([sys.executable, bundle / "run_ort.py"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "usage: python run_ort.py PROMPT\n")


def test_where_there_is_no_npu_the_script_says_so(tiny: TinyModel, tmp_path: Path):
    """onnxruntime-genai would end the process without a word."""
    pytest.importorskip("onnxruntime_genai")
    script = tmp_path / "run_ort.py"
    script.write_text(ort_script(PromptAffixes("", "", "No template."), context_size=CL, window=8, on_npu=True))
    shutil.copy(composed(tiny.onnx(), tmp_path / "bundle", "ort") / "tokenizer.json", tmp_path)
    done = subprocess.run([sys.executable, script, "Hi"], capture_output=True, text=True, check=False)
    told = f"this machine ({platform.machine()}) has no Hexagon NPU: copy the bundle to a device\n"
    assert (done.returncode, done.stderr) == (1, told)


def test_positions_are_those_of_the_chain(bundle: Path, tiny: TinyModel):
    """A call of 8 with 3 tokens of padding, after 5 tokens."""
    session = onnxruntime.InferenceSession(bundle / "positions.onnx")
    ids, tokens = np.array([[0, 0, 0, 5, 6, 7, 8, 9]], np.int32), np.zeros((1, CL), np.int32)
    tokens[0, CL - 8 - 5 : CL - 8] = tokens[0, CL - 5 :] = 1
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"position_ids": ids, "token_mask": tokens}), strict=True))
    specs = {spec.name: spec for spec in tiny.parts[8][1].signature.inputs}
    cos, sin = rotary(tiny.config, ids[0], length=CL)
    np.testing.assert_array_equal(found["position_ids_cos"], to_stored(cos[None, None], specs["position_ids_cos"]))
    np.testing.assert_array_equal(found["position_ids_sin"], to_stored(sin[None, None], specs["position_ids_sin"]))
    seen = to_real(found["attention_mask"], specs["attention_mask"])[0, 0] == 0
    for row in range(8):
        expected = {*range(CL - 13, CL - 8), *range(CL - 5, CL - 8 + row + 1)}
        assert set(np.flatnonzero(seen[row])) == expected


def test_of_several_context_lengths_the_longest_runs(tiny: TinyModel, tmp_path: Path):
    parameters = open_parameters(tiny.folder / "model", tiny.config)
    encodings = measured_encodings(parameters, list(range(3, 51)))
    shorter = make_parts(tmp_path, parameters, ars=(1, 8), cl=16, num_splits=3, encodings=encodings)
    short = replace(tiny, folder=tmp_path, parts=shorter).onnx()
    folder = composed(replace(tiny.onnx(), parts=[*tiny.onnx().parts, *short.parts]), tmp_path / "out", "ort")  # type: ignore[list-item]
    model = json.loads((folder / "genai_config.json").read_bytes())["model"]
    (stages,) = model["decoder"]["pipeline"]
    assert model["context_length"] == CL
    assert all("-cl32_" in stage["filename"] for name, stage in stages.items() if name.endswith("_of_3"))
    assert (folder / "part_1_of_3" / "ar1-cl16_1_of_3.onnx").is_file(), "others are there for other runtimes"


def test_a_float_mask_stays_float(tmp_path: Path, tiny: TinyModel):
    mask = TensorSpec(name="attention_mask", dtype="float32", shape=(1, 1, 8, CL))
    angle = TensorSpec(name="position_ids_cos", dtype="float32", shape=(1, 1, 8, 8))
    sine = angle.model_copy(update={"name": "position_ids_sin"})
    write_positions(tmp_path / "p.onnx", tiny.config, mask=mask, cos=angle, sin=sine)
    session = onnxruntime.InferenceSession(tmp_path / "p.onnx")
    feed = {"position_ids": np.array([[3]], np.int32), "token_mask": np.ones((1, CL), np.int32)}
    found = session.run(["attention_mask"], feed)[0]
    assert found.dtype == np.float32
    assert (found == 0).all()


def test_logits_are_what_their_numbers_stand_for(tmp_path: Path):
    spec = TensorSpec(name="logits", dtype="uint16", shape=(1, 1, 4), scale=0.25, offset=-100)
    write_logits(tmp_path / "l.onnx", spec)
    stored = np.array([[[0, 100, 104, 65535]]], np.uint16)
    found = onnxruntime.InferenceSession(tmp_path / "l.onnx").run(None, {"logits": stored})[0]
    np.testing.assert_allclose(found, to_real(stored, spec))


def test_padding_is_a_token_that_no_prompt_holds(tiny: TinyModel):
    tokenizer = Tokenizer.from_directory(tiny.folder / "tokenizer")
    assert pad_token(tokenizer, tiny.config) == 259, "a number without a text"
    full = tiny.config.model_copy(update={"vocab_size": 257})
    assert tokenizer.fast.id_to_token(pad_token(tokenizer, full)) == "À", "the byte 0xC0, which no text has"
    tokenizer.fast.add_special_tokens(["<|pad|>", "<|user|>"])
    tokenizer.chat_template = "<|user|>{{ messages[0].content }}"
    assert pad_token(tokenizer, full.model_copy(update={"vocab_size": 259})) == 257


@pytest.mark.parametrize(
    ("ars", "size", "told"),
    [
        ((1,), CL, "for prompts and AR 1 for decoding; the graphs have AR 1"),
        ((8,), CL, "for prompts and AR 1 for decoding; the graphs have AR 8"),
        ((1, 8), 15, "with AR 8, more than half the context of 15"),
    ],
)
def test_lengths_that_it_cannot_run(tiny: TinyModel, ars: tuple[int, ...], size: int, told: str):
    with pytest.raises(RecipeError, match=told) as caught:
        genai_config(tiny.config, chains(tiny, *ars), context_size=size, pad_token=259, on_npu=True)
    assert caught.value.where == "stages.prepare_exports.arn"


def test_keys_of_16_bits_are_refused(tiny: TinyModel):
    made = chains(tiny, 1, 8)
    graph = made[1][1]
    wide = tuple(
        spec.model_copy(update={"dtype": "uint16"}) if spec.name.startswith("past_") else spec
        for spec in graph.signature.inputs
    )
    signature = graph.signature.model_copy(update={"inputs": wide})
    made[1][1] = PlacedGraph(graph.name, signature, graph.file, None)
    with pytest.raises(ModelError, match="stores keys and values as uint8, past_key_0_in is uint16"):
        genai_config(tiny.config, made, context_size=CL, pad_token=259, on_npu=True)


@pytest.mark.compiler
def test_the_plugin_runs_the_wrappers(tiny: TinyModel, single: Contents, tmp_path: Path):
    """What the device does, emulated: `EPContext` graphs in the pipeline. Each AR has binaries of its own, for one of
    both ends the process on x86."""
    pytest.importorskip("onnxruntime_genai")
    prompts = tiny.binaries(ars=(8,), name="prompts", prefix="prompt")
    both = [part for pair in zip(prompts.parts, single.parts, strict=True) for part in pair]
    folder = composed(replace(single, parts=both), tmp_path / "ort", "ort")  # type: ignore[arg-type]
    register = (
        "import onnxruntime_genai, onnxruntime_qnn\n"
        "onnxruntime_genai.register_execution_provider_library("
        "'QNNExecutionProvider', onnxruntime_qnn.get_library_path())\n"
    )
    ids = Tokenizer.from_directory(folder).encode("The quick br")
    assert genai_tokens(folder, ids, 3, before=register) == our_tokens(tiny, ids, 3)
