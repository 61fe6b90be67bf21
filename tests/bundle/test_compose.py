from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_bundle import TinyModel, composed, copy

from qairt.bundle.chat_prompt import (
    IN_TEMPLATE,
    TEMPLATE_LOST,
    PromptAffixes,
    between_turns,
    genie_affixes,
    prompt_affixes,
)
from qairt.bundle.compose import compose
from qairt.bundle.contents import Contents
from qairt.bundle.metadata import read_metadata
from qairt.bundle.run_scripts import genie_script, ort_script
from qairt.errors import QairtError, RecipeError
from qairt.model.tokenizer import Tokenizer

TOKENIZER = {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"}
BINARIES = [f"weight_sharing_model_{part}_of_3.serialized.bin" for part in (1, 2, 3)]
pytestmark = pytest.mark.compiler


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_for_genie(genie_bundle: Path):
    assert names(genie_bundle) == TOKENIZER | set(BINARIES) | {
        "genie_config.json",
        "htp_backend_ext_config.json",
        "run_genie.sh",
        "metadata.yaml",
        "SHA256SUMS",
    }
    dialog = json.loads((genie_bundle / "genie_config.json").read_bytes())["dialog"]
    assert dialog["engine"]["model"]["binary"]["ctx-bins"] == BINARIES
    assert dialog["engine"]["backend"]["extensions"] == "htp_backend_ext_config.json"
    assert dialog["context"]["size"] == 32
    assert json.loads((genie_bundle / "htp_backend_ext_config.json").read_bytes()) == {
        "devices": [
            {
                "soc_model": 57,
                "dsp_arch": "v75",
                "cores": [{"core_id": 0, "perf_profile": "burst", "rpc_control_latency": 100}],
            }
        ],
        "memory": {"mem_type": "shared_buffer"},
        "context": {"weight_sharing_enabled": True},
    }


def test_for_onnxruntime(ort_bundle: Path):
    wrappers = {f"ar{ar}_cl32_{part}_of_3_ctx.onnx" for ar in (1, 8) for part in (1, 2, 3)}
    assert names(ort_bundle) == TOKENIZER | set(BINARIES) | wrappers | {
        "genai_config.json",
        "positions.onnx",
        "logits.onnx",
        "run_ort.py",
        "metadata.yaml",
        "SHA256SUMS",
    }
    (stages,) = json.loads((ort_bundle / "genai_config.json").read_bytes())["model"]["decoder"]["pipeline"]
    assert stages["prompt_3_of_3"]["filename"] == "ar8_cl32_3_of_3_ctx.onnx"
    assert stages["prompt_3_of_3"]["session_options"]["provider_options"][0]["QNN"]["backend_type"] == "htp"
    assert stages["logits"]["session_options"] == {"provider_options": []}


def test_metadata_says_what_runs_it(genie_bundle: Path, ort_bundle: Path):
    for folder, form, config, script in (
        (genie_bundle, "genie", "genie_config.json", "run_genie.sh"),
        (ort_bundle, "ort", "genai_config.json", "run_ort.py"),
    ):
        found = read_metadata(folder)
        assert found is not None
        assert (found.format, found.config, found.run) == (form, config, script)
        assert (found.context_length, list(found.binaries)) == (32, BINARIES)
        assert [(graph.part, graph.ar, bool(graph.wrapper)) for graph in found.graphs] == [
            (part, ar, form == "ort") for part in (1, 2, 3) for ar in (1, 8)
        ]


def test_sums_cover_every_file(genie_bundle: Path):
    told = dict(reversed(line.split("  ")) for line in (genie_bundle / "SHA256SUMS").read_text().splitlines())
    assert told.keys() == names(genie_bundle) - {"SHA256SUMS"}
    for name, digest in told.items():
        assert hashlib.sha256((genie_bundle / name).read_bytes()).hexdigest() == digest


def test_binaries_are_the_same_in_both(genie_bundle: Path, ort_bundle: Path):
    for name in BINARIES:
        assert (genie_bundle / name).read_bytes() == (ort_bundle / name).read_bytes()


def test_one_graph_a_binary_shares_no_weights(one_graph_bundle: Path):
    told = json.loads((one_graph_bundle / "htp_backend_ext_config.json").read_bytes())
    assert told["context"] == {"weight_sharing_enabled": False}


def test_parts_of_an_unknown_model_have_no_configuration(shared: Contents, tmp_path: Path):
    unknown = replace(shared, model=None, tokenizer=None)
    folder = composed(unknown, tmp_path / "plain", None)
    assert names(folder) == set(BINARIES) | {"metadata.yaml", "SHA256SUMS"} | {
        f"ar{ar}_cl32_{part}_of_3_ctx.onnx" for ar in (1, 8) for part in (1, 2, 3)
    }
    assert "model" not in yaml.safe_load((folder / "metadata.yaml").read_text())
    for form in ("genie", "ort"):
        with pytest.raises(RecipeError, match="an external ONNX graph has neither"):
            compose(unknown, tmp_path, form, place=copy)


def test_genie_needs_binaries(tiny: TinyModel, tmp_path: Path):
    with pytest.raises(RecipeError, match="Genie needs context binaries, and backend CPU compiles none"):
        compose(tiny.onnx(), tmp_path, "genie", place=copy)


def test_metadata_of_another_form_is_named(genie_bundle: Path):
    (genie_bundle / "metadata.yaml").write_text("backend: HTP\ngraphs: [{name: x}]\n")
    with pytest.raises(QairtError, match=r"metadata.yaml: graphs.0.ar: Field required"):
        read_metadata(genie_bundle)


def test_the_script_hands_genie_the_models_own_prompt(tmp_path: Path):
    """Quotes and dollars in the template and in the prompt arrive as they are."""
    tool = tmp_path / "genie-t2t-run"
    tool.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    tool.chmod(0o755)
    script = tmp_path / "run_genie.sh"
    script.write_text(genie_script(PromptAffixes("it's $HOME\n<user>", "</user>\n", "Its template."), htp=75))
    done = subprocess.run(["sh", script, 'say "hi" $x'], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '-c|genie_config.json|-p|it\'s $HOME\n<user>say "hi" $x</user>\n|'
    tool.unlink()
    done = subprocess.run(["sh", script, "hi"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "genie-t2t-run is not in" in done.stderr


def test_the_script_saves_a_conversation_and_goes_on_from_it(tmp_path: Path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    tool = bundle / "genie-t2t-run"
    tool.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    tool.chmod(0o755)
    script = bundle / "run_genie.sh"
    affixes = PromptAffixes("<first><user>", "</user>", "Its template.")
    script.write_text(genie_script(affixes, htp=75, between="\n<user>"))

    def run(*words: str) -> tuple[int, str, str]:
        done = subprocess.run(["sh", script, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    saved = tmp_path / "talk"
    assert run("hi", "--restore", "talk") == (2, "", f"{saved} holds no conversation: write one with --save\n")
    first = f"-c|genie_config.json|--save|{saved}|-p|<first><user>hi</user>|"
    assert run("hi", "--save", "talk") == (0, first, "")
    (saved / "dialog.json").touch()
    second = f"-c|genie_config.json|--restore|{saved}|--save|{saved}|-p|\n<user>and you?</user>|"
    assert run("and you?", "--save", str(saved), "--restore", "talk") == (0, second, "")
    usage = "usage: sh run_genie.sh PROMPT [--save FOLDER] [--restore FOLDER]\n"
    for words in ((), ("hi", "more"), ("hi", "--save"), ("hi", "--save", "")):
        assert run(*words) == (2, "", usage)
    script.write_text(genie_script(affixes, htp=75, between="\n<user>", adds_bos=True))
    (bundle / "genie_config.json").write_text('{"context": {"bos-token": 128000, "eos-token": 2}}')
    assert run("hi") == (0, "-c|genie_config.json|-p|<first><user>hi</user>|", "")
    assert run("hm", "--restore", "talk")[1].startswith(f"-c|{saved}/genie_config.json|--restore|{saved}|")
    assert (saved / "genie_config.json").read_text() == '{"context": {"bos-token": -1, "eos-token": 2}}'
    script.write_text(genie_script(affixes, htp=75))
    code, out, err = run("and you?", "--restore", "talk")
    assert (code, out) == (0, f"-c|genie_config.json|--restore|{saved}|-p|and you?|")
    assert (
        err
        == "The model's chat template has no plain text between two turns: the prompt goes to the model unchanged.\n"
    )


CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
OF_LENGTH = "{% for m in messages %}{{ messages | length }}{{ m.content }}{% endfor %}{{ messages | length }}"


@pytest.mark.parametrize(
    ("template", "expected"),
    [(CHATML, "\n<|im_start|>user\n"), (OF_LENGTH, None), ("[{{ messages[0].content }}]", None), (None, "")],
)
def test_the_text_between_two_turns_is_without_the_answers_end(tiny: TinyModel, template: str | None, expected: str):
    tokenizer = Tokenizer.from_directory(tiny.folder / "tokenizer")
    tokenizer.chat_template = template
    assert between_turns(tokenizer, prompt_affixes(tokenizer), (256,)) == expected


def test_the_words_around_the_users_are_the_templates(tiny: TinyModel, tmp_path: Path):
    shutil.copytree(tiny.folder / "tokenizer", tmp_path / "t")
    tokenizer = Tokenizer.from_directory(tmp_path / "t")
    found = prompt_affixes(tokenizer)
    assert (found.prefix, found.suffix, found.is_bare, found.warning) == ("[user]", "[assistant]", False, None)
    for template in ("{{ raise_exception('no') }}", "{% for m in messages %}{{ m.content | upper }}{% endfor %}"):
        tokenizer.chat_template = template
        assert prompt_affixes(tokenizer) == PromptAffixes("", "", TEMPLATE_LOST)
    tokenizer.chat_template = None
    found = prompt_affixes(tokenizer)
    assert (found.prefix, found.suffix, found.is_bare, found.warning) == ("", "", True, None)


def test_a_script_that_cannot_hold_the_template_says_so(tiny: TinyModel, tmp_path: Path):
    (tmp_path / "genie-t2t-run").write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    (tmp_path / "genie-t2t-run").chmod(0o755)
    script = tmp_path / "run_genie.sh"
    script.write_text(genie_script(PromptAffixes("", "", TEMPLATE_LOST), htp=75))
    done = subprocess.run(["sh", script, "hi"], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("-c|genie_config.json|-p|hi|", f"{TEMPLATE_LOST}\n")
    python = ort_script(PromptAffixes("", "", TEMPLATE_LOST), context_size=32, window=8, on_npu=True)
    assert f"print({TEMPLATE_LOST!r}, file=sys.stderr)" in python
    compile(python, "run_ort.py", "exec")


def test_a_prompt_outside_a_template_begins_as_the_tokenizer_begins_texts():
    words = {"context_size": 32, "window": 8, "on_npu": False}
    assert "add_special_tokens=True" in ort_script(PromptAffixes("", "", "No template."), **words)
    assert "add_special_tokens=False" in ort_script(PromptAffixes("[user]", "", IN_TEMPLATE), **words)


def prompt(tokenizer: Tokenizer, begin: int | None) -> tuple[str, str, bool]:
    affixes, adds_bos = genie_affixes(tokenizer, begin)
    return affixes.prefix, affixes.suffix, adds_bos


def test_genie_puts_the_beginning_of_text_where_the_models_prompts_have_it_and_once(tiny: TinyModel):
    tokenizer = Tokenizer.from_directory(tiny.folder / "tokenizer")
    begin = 1
    text = tokenizer.decode([begin], skip_special_tokens=False)
    assert tokenizer.encode(text) == [begin]
    assert prompt(tokenizer, begin) == ("[user]", "[assistant]", False)
    tokenizer.chat_template = f"{text}{tokenizer.chat_template}"
    assert prompt_affixes(tokenizer).prefix == f"{text}[user]"
    assert prompt(tokenizer, begin) == ("[user]", "[assistant]", True)
    assert prompt(tokenizer, None) == (f"{text}[user]", "[assistant]", False)
    tokenizer.chat_template = None
    own = tokenizer.encode("x", add_special_tokens=True)[:1] == [begin]
    assert prompt(tokenizer, begin) == ("", "", own)
