"""A recipe's LoRA adapters: every fault is found by `qairt check`, with its line, before anything runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from adapted_recipe import write_adapted_recipe
from tiny_adapters import rewrite_tensors, save_adapter, tiny_adapter, write_gguf_adapter
from tiny_models import tiny_model
from transformers import AutoModelForCausalLM

from qairt.cli.main import main


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_adapted_recipe(tmp_path_factory.mktemp("adapted"), backend="CPU").parent


@pytest.fixture
def place(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "place"))


def check(place: Path, capsys, *overrides: str) -> tuple[int, list[dict]]:
    capsys.readouterr()
    code = main(["check", str(place / "recipe.yaml"), *overrides, "--json", "--cache-dir", str(place / "cache")])
    return code, json.loads(capsys.readouterr().out)["findings"]


def errors(place: Path, capsys, *overrides: str) -> list[str]:
    code, findings = check(place, capsys, *overrides)
    found = [f"{each['text']}\n  {each['remedy']}" for each in findings if each["status"] == "error"]
    assert code == (2 if found else 0)
    return found


def line(place: Path, text: str, after: str = "") -> str:
    """`recipe.yaml:LINE` of the first line that ends with `text`."""
    lines = (place / "recipe.yaml").read_text().splitlines()
    start = next(number for number, each in enumerate(lines) if each.endswith(after))
    return f"{place}/recipe.yaml:{next(n for n, each in enumerate(lines[start:], start + 1) if each.endswith(text))}"


def edit(place: Path, change) -> None:
    content = yaml.safe_load((place / "recipe.yaml").read_text())
    change(content)
    (place / "recipe.yaml").write_text(yaml.safe_dump(content, sort_keys=False))


def test_nothing_is_wrong(place, capsys):
    assert errors(place, capsys) == []


def test_every_adapter_that_is_wrong_is_named_at_its_line(place, capsys):
    save_adapter(place / "french", tiny_model("llama", hidden_size=32))
    shutil.rmtree(place / "poems")
    (place / "poems").mkdir()
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    assert errors(place, capsys) == [
        f"{line(place, 'path: french')}: lora.adapters.french.path: {place}/french/adapter_model.safetensors: the "
        f"adapter is of another model: {name} has shape [4, 32], "
        "for model.layers.0.self_attn.q_proj it must be [4, 64]\n"
        "  use an adapter that was trained on this model",
        f"{line(place, 'path: poems')}: lora.adapters.poems.path: {place}/poems: the adapter's folder has no "
        "adapter_config.json\n"
        "  give a folder that peft's save_pretrained wrote: adapter_config.json, adapter_model.safetensors",
    ]


def test_a_folder_that_does_not_exist(place, capsys):
    (place / "french").rename(place / "francais")
    assert main(["check", str(place / "recipe.yaml")]) == 2
    told = " ".join(capsys.readouterr().err.split())
    where = line(place, "path: french")
    assert f"{where}: lora.adapters.french.path: french was not found in {place} give the path of" in told


def test_values_that_are_not_finite(place, capsys):
    tensor = "base_model.model.model.layers.1.self_attn.k_proj.lora_B.weight"
    rewrite_tensors(place / "brief", lambda tensors: tensors[tensor].fill_(float("inf")))
    assert errors(place, capsys) == [
        f"{line(place, 'path: brief')}: lora.adapters.brief.path: {place}/brief/adapter_model.safetensors: the tensor "
        f"{tensor} holds 96 NaN or infinite values\n"
        "  use an earlier checkpoint of it, or train it again with a lower learning rate"
    ]


@pytest.mark.parametrize("key", ["concurrencies", "use_cases"])
def test_texts(place, capsys, key):
    (place / "poems.txt").write_text(" \n")
    (place / "latin.txt").write_bytes(b"na\xefve")
    one = {"adapters": ["poems"], "lora_scaling": [1.0]}

    def add(content):
        groups = content["lora"].pop("concurrencies")
        groups |= {"old": one | {"calibration_dataset": "latin.txt"}, "gone": one | {"calibration_dataset": "poem.txt"}}
        content["lora"][key] = groups

    edit(place, add)
    named = "lora.concurrencies"
    assert errors(place, capsys) == [
        f"{line(place, 'dataset: poems.txt')}: {named}.both.calibration_dataset: {place}/poems.txt is empty\n"
        "  use some pages of text of the kind it will process",
        f"{line(place, 'dataset: latin.txt')}: {named}.old.calibration_dataset: {place}/latin.txt is not UTF-8 text: "
        "byte 2\n  give a UTF-8 text file",
        f"{line(place, 'dataset: poem.txt')}: {named}.gone.calibration_dataset: poem.txt was not found in {place}\n"
        "  did you mean poems.txt?",
    ]


def test_as_many_scalings_as_adapters(place, capsys):
    edit(place, lambda content: content["lora"]["concurrencies"]["both"].update(lora_scaling=[1.0]))
    assert main(["check", str(place / "recipe.yaml")]) == 2
    told = " ".join(capsys.readouterr().err.split())
    where = line(place, "both:")
    what = "lora.concurrencies.both: lora_scaling has 1 values for 2 adapters: give one for each"
    assert f"{where}: {what}" in told


def test_under_features_as_the_documentation_has_it(place, capsys):
    edit(place, lambda content: content.update(features={"lora": content.pop("lora")}))
    (place / "french" / "adapter_config.json").write_text("{}")
    assert errors(place, capsys) == [
        f"{line(place, 'path: french')}: lora.adapters.french.path: {place}/french/adapter_config.json: peft_type is "
        "missing\n  use a LoRA adapter (peft_type LORA)"
    ]


def test_an_external_graph_has_no_adapters(place, capsys):
    edit(place, lambda content: [content["stages"].pop(name) for name in ("model_loading", "quantization")])
    assert main(["check", str(place / "recipe.yaml")]) == 2
    what = "lora: adapters are applied to the model that model_loading reads, and the recipe has no such stage"
    remedy = "add model_loading and quantization, or merge the adapter into the model before it is exported"
    told = " ".join(capsys.readouterr().err.split())
    assert f"{line(place, 'lora:')}: {what} {remedy}" in told


def test_an_adapter_in_a_gguf_file(place, capsys):
    base = AutoModelForCausalLM.from_pretrained(place / "model")
    write_gguf_adapter(place / "french.gguf", tiny_adapter(base, target_modules=["k_proj"]), {"k_proj": "attn_k"})
    edit(place, lambda content: content["lora"]["adapters"]["french"].update(path="french.gguf"))
    assert errors(place, capsys) == []
    (place / "french.gguf").write_bytes(b"GGUF")
    assert errors(place, capsys) == [
        f"{line(place, 'path: french.gguf')}: lora.adapters.french.path: {place}/french.gguf: the GGUF file is "
        "truncated: it has 4 bytes, expected at least 24 bytes of header\n  download or copy it again"
    ]


@pytest.mark.parametrize(
    ("form", "then"),
    [
        (
            "inputs",
            ". The SDK's qairt-lora-importer makes what changes them, and qairt does not run it: `qairt export RECIPE"
            " DIR --layout lora` writes for each graph its files and, as import.sh, its commands",
        ),
        ("hot_switch", ": with form hot_switch no tool makes binaries that change them"),
    ],
)
def test_encodings_that_only_the_sdk_can_change(place, capsys, form, then):
    edit(place, lambda content: content["lora"].update(quant_updatable_mode="all", form=form))
    code, findings = check(place, capsys)
    told = [each["text"] for each in findings if "quant_updatable_mode" in each["text"]]
    assert code == 0
    assert told == [
        "lora.quant_updatable_mode is all: the encodings of each concurrency are written, but in binaries all"
        f" concurrencies share one set, as with none{then}"
    ]
