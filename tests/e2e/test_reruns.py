"""What reruns after what change: one table, complete by construction, over the plan of a whole recipe.

A setting, a file of the model, a library or a variable without a row fails `test_every_input_has_a_row`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from adapted_recipe import write_adapted_recipe
from nsys_stand_in import install
from tiny_adapters import rewrite_tensors, save_adapter
from tiny_recipe import write_recipe
from transformers import AutoModelForCausalLM

import qairt.stages  # noqa: F401 - registers them
from qairt.engine import libraries
from qairt.engine.plan.planned import PlannedItem
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import StageConfig, registered_stages
from qairt.llm import LLMPipeline
from qairt.model import describe
from qairt.model.tokenizer_files import ADDED_TOKENS
from qairt.recipe.settings import RecipeSettings
from qairt.stages.model_loading import ModelLoading

ORDER = [
    "model_loading",
    "torch_profiler",
    "nsys",
    "quantization",
    "export",
    "prepare_exports",
    "split_model",
    "mha_to_sha_conversion",
    "convert",
    "quantize",
    "generate_context_binary",
    "export_bundle",
]
PROFILERS = frozenset({"torch_profiler", "nsys"})
ADAPTERS = frozenset({"lora_adapters"})
"""In recipes with LoRA concurrencies only: `test_what_reruns_with_adapters`."""
NOTHING: frozenset[str] = frozenset()
EVERYTHING = frozenset(ORDER)


def since(stage: str) -> frozenset[str]:
    """A stage and all that follow it."""
    return frozenset(ORDER[ORDER.index(stage) :]) - (PROFILERS if stage != "model_loading" else NOTHING)


ENDS = frozenset({"model_loading", "export_bundle"}) | PROFILERS
"""What reads how a text begins, ends and is put into a template."""


@dataclass
class Place:
    """A recipe, its model and the environment, to be changed."""

    folder: Path
    patch: pytest.MonkeyPatch
    words: list[str] = field(default_factory=list)

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def json(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.model / name
        content = json.loads(path.read_text()) if path.exists() else {}
        change(content)
        path.write_text(json.dumps(content))

    def version(self, package: str, change: Callable[[list[str]], list[str]]) -> None:
        """Install another version of a package: `change` gets the numbers of the present one."""
        found, real = metadata.version(package).split("."), libraries._version
        self.patch.setattr(
            libraries, "_version", lambda name: ".".join(change(found)) if name == package else real(name)
        )

    def keys(self) -> dict[str, dict[str, str]]:
        pipeline = LLMPipeline.from_recipe(self.folder / "recipe.yaml", self.words, cache_dir=self.folder / "cache")
        found: dict[str, dict[str, str]] = {}
        for item in pipeline.plan().items:
            found.setdefault(item.stage.name, {})[item.label] = item.key
        return found


Change = Callable[[Place], object]


def word(*words: str) -> Change:
    return lambda place: place.words.extend(words)


def put(name: str, key: str, value: object) -> Change:
    return lambda place: place.json(name, lambda content: content.update({key: value}))


def add_to(name: str) -> Change:
    """Other bytes at the end of a file."""

    def change(place: Place) -> None:
        with (place.folder / name).open("ab") as file:
            file.write(b"\nmore")

    return change


def other_weight(place: Place) -> None:
    path = place.model / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_shards(place: Place) -> None:
    """The same file under another name, found by an index."""
    (place.model / "model.safetensors").rename(place.model / "a.safetensors")
    from safetensors import safe_open

    with safe_open(place.model / "a.safetensors", "np") as file:
        names = list(file.keys())
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, "a.safetensors")}
    (place.model / "model.safetensors.index.json").write_text(json.dumps(index))


def rewritten(place: Place) -> None:
    """Every JSON file of the model with other white space and in another order."""
    for path in place.model.glob("*.json"):
        content = json.loads(path.read_text())
        path.write_text(json.dumps(dict(reversed(content.items())), indent=7) + "\n\n")


def moved(place: Place) -> None:
    place.model.rename(place.folder / "elsewhere")
    place.words.append(f"model_id_or_path={place.folder / 'elsewhere'}")


def other_technique(place: Place) -> None:
    path = place.folder / "technique.yaml"
    path.write_text(path.read_text().replace("block_size: 64", "block_size: 32"))


def renamed_texts(place: Place) -> None:
    for old, new in (("text.txt", "words.txt"), ("technique.yaml", "method.yaml")):
        (place.folder / old).rename(place.folder / new)
    place.words += ["stages.quantization.calibration_text=words.txt", "stages.quantization.recipe=method.yaml"]


def legacy_template(place: Place) -> None:
    place.json("tokenizer_config.json", lambda content: content.pop("chat_template"))
    place.json("chat_template.json", lambda content: content.update(chat_template="{{ messages }}"))


def end_of_config(place: Place) -> None:
    (place.model / "generation_config.json").unlink()
    place.json("config.json", lambda content: content.update(eos_token_id=255))


def in_model(name: str, text: str) -> Change:
    return lambda place: (place.model / name).write_text(text)


SDK_CHAIN = ("stages.convert.toolchain=sdk", "stages.quantize.toolchain=sdk")
WORKLOAD: dict[str, str] = {
    "prompts": '["Other"]',
    "max_new_tokens": "3",
    "warmup": "0",
    "repeats": "9",
    "chat": "false",
    "device": "cpu",
}

SETTINGS: dict[str, tuple[Change, frozenset[str]]] = {
    "model_id_or_path": (moved, NOTHING),
    "backend": (word("backend=CPU"), frozenset({"convert", "quantize", "generate_context_binary", "export_bundle"})),
    "soc_details": (word("soc_details=chipset:SM8750"), since("generate_context_binary")),
    "sdk_root": (word("sdk_root=."), NOTHING),
    "cache_dir": (word("cache_dir=other"), NOTHING),
    "execution_environment": (word("execution_environment.device=cpu"), NOTHING),
    "verify": (word("verify.artifacts=full", "verify.min_sqnr_db=3"), NOTHING),
    "log_level": (word("log_level=debug"), NOTHING),
    "enable_observers": (word("enable_observers=false"), NOTHING),
    "suppress_performance_warnings": (word("suppress_performance_warnings=true"), NOTHING),
    "generator": (word("generator.context_length=16"), NOTHING),
    "evaluator": (word("evaluator.output_dir=scores"), NOTHING),
    "lora": (word('lora={"quant_updatable_mode": "all"}'), NOTHING),
    "enable_cache": (word("enable_cache=false"), NOTHING),
    "checkpoint": (word("checkpoint=false"), NOTHING),
    "keep": (word("keep=bundle"), NOTHING),
    "stages.*.output": (word("stages.quantization.output.visualization.enable=false"), NOTHING),
    "stages.*.enable_cache": (word("stages.quantization.enable_cache=false"), NOTHING),
    "stages.*.checkpoint": (word("stages.quantization.checkpoint=false"), NOTHING),
    "stages.*.keep": (word("stages.quantization.keep=bundle"), NOTHING),
    "stages.*.overrides": (
        word('stages.generate_context_binary.overrides=[{"where": {"split": 2}, "set": {"optimization_level": 1}}]'),
        since("generate_context_binary"),
    ),
    "stages": (lambda place: without_stage(place, "mha_to_sha_conversion"), since("mha_to_sha_conversion")),
    "stages.quantization.recipe": (word("stages.quantization.recipe=minmax.yaml"), since("quantization")),
    "stages.quantization.technique": (word("stages.quantization.technique.block_size=32"), since("quantization")),
    "stages.quantization.calibration_text": (
        lambda place: (shutil.copy(place.folder / "recipe.yaml", place.folder / "other.txt"), use_other_text(place)),
        since("quantization"),
    ),
    "stages.quantization.calibration_chunks": (word("stages.quantization.calibration_chunks=3"), since("quantization")),
    "stages.quantization.calibration_length": (
        word("stages.quantization.calibration_length=40"),
        since("quantization"),
    ),
    "stages.quantization.act_bitwidth": (word("stages.quantization.act_bitwidth=8"), since("quantization")),
    "stages.quantization.kv_bitwidth": (word("stages.quantization.kv_bitwidth=16"), since("quantization")),
    "stages.quantization.mask_floor": (word("stages.quantization.mask_floor=-99.0"), since("quantization")),
    "stages.prepare_exports.arn": (word("stages.prepare_exports.arn=[1, 4]"), since("prepare_exports")),
    "stages.prepare_exports.context_length": (
        word("stages.prepare_exports.context_length=64"),
        since("prepare_exports"),
    ),
    "stages.split_model.num_splits": (word("stages.split_model.num_splits=2"), since("split_model")),
    "stages.split_model.split_lm_head": (word("stages.split_model.split_lm_head=true"), since("split_model")),
    "stages.convert.toolchain": (word(SDK_CHAIN[0]), since("convert")),
    "stages.quantize.toolchain": (word(*SDK_CHAIN), since("convert")),
    "stages.quantize.act_bitwidth": (word("stages.quantize.act_bitwidth=8"), NOTHING),
    "stages.quantize.bias_bitwidth": (word("stages.quantize.bias_bitwidth=8"), NOTHING),
    "stages.generate_context_binary.toolchain": (
        word(*SDK_CHAIN, "stages.generate_context_binary.toolchain=sdk"),
        since("convert"),
    ),
    "stages.generate_context_binary.optimization_level": (
        word("stages.generate_context_binary.optimization_level=1"),
        since("generate_context_binary"),
    ),
    "stages.generate_context_binary.emulate": (
        word("stages.generate_context_binary.emulate=all"),
        since("generate_context_binary"),
    ),
    "stages.generate_context_binary.vtcm_mb": (
        word("stages.generate_context_binary.vtcm_mb=4"),
        since("generate_context_binary"),
    ),
    "stages.generate_context_binary.extended_udma": (
        word("soc_details=chipset:SM8850", "stages.generate_context_binary.extended_udma=true"),
        since("generate_context_binary"),
    ),
    "stages.export_bundle.format": (word("stages.export_bundle.format=ort"), since("export_bundle")),
    "stages.torch_profiler.enable": (word("stages.torch_profiler.enable=false"), frozenset({"torch_profiler"})),
    "stages.torch_profiler.profiled_tokens": (
        word("stages.torch_profiler.profiled_tokens=1"),
        frozenset({"torch_profiler"}),
    ),
    **{
        f"stages.{stage}.{name}": (word(f"stages.{stage}.{name}={value}"), frozenset({stage}))
        for stage in sorted(PROFILERS)
        for name, value in WORKLOAD.items()
    },
}
EXTERNAL = {"stages.export.onnx", "stages.export.encodings", "stages.export.io_names"}
"""Rows of `test_an_external_graph`."""

FILES: dict[str, tuple[Change, frozenset[str]]] = {
    "model.safetensors": (other_weight, EVERYTHING),
    "model.safetensors.index.json": (other_shards, NOTHING),
    "config.json": (put("config.json", "rms_norm_eps", 1e-4), EVERYTHING),
    "generation_config.json": (put("generation_config.json", "eos_token_id", [255, 256]), ENDS),
    "tokenizer.json": (put("tokenizer.json", "normalizer", {"type": "NFC"}), EVERYTHING),
    "tokenizer_config.json": (put("tokenizer_config.json", "unk_token", "<|end|>"), EVERYTHING),
    "special_tokens_map.json": (put("special_tokens_map.json", "pad_token", "<|end|>"), EVERYTHING),
    "added_tokens.json": (put("added_tokens.json", "<|extra|>", 257), EVERYTHING),
    "chat_template.jinja": (in_model("chat_template.jinja", "{{ messages }}"), ENDS),
    "chat_template.json": (legacy_template, ENDS),
    "chat_template.json beside a template": (put("chat_template.json", "chat_template", "{{ messages }}"), NOTHING),
    "config.json: eos_token_id": (end_of_config, ENDS),
    "config.json: eos_token_id beside that of generation_config.json": (
        put("config.json", "eos_token_id", 255),
        NOTHING,
    ),
    "config.json: bos_token_id": (put("config.json", "bos_token_id", 7), ENDS),
    "config.json: what nothing reads": (put("config.json", "transformers_version", "9"), NOTHING),
    "generation_config.json: what nothing reads": (put("generation_config.json", "temperature", 0.1), NOTHING),
    "tokenizer_config.json: chat_template": (put("tokenizer_config.json", "chat_template", "{{ messages }}"), ENDS),
    "white space and order of every JSON file": (rewritten, NOTHING),
    "a file that is none of the model's": (in_model("README.md", "more"), NOTHING),
    "the technique file": (other_technique, since("quantization")),
    "the calibration text": (add_to("text.txt"), since("quantization")),
    "the names of both": (renamed_texts, NOTHING),
}

LIBRARIES: dict[str, tuple[Change, frozenset[str]]] = {
    "torch": (lambda place: place.version("torch", lambda v: [v[0], "999", *v[2:]]), since("quantization")),
    "tokenizers": (lambda place: place.version("tokenizers", lambda v: [v[0], "999", *v[2:]]), since("quantization")),
    "onnxruntime": (lambda place: place.version("onnxruntime", lambda v: [v[0], "999", *v[2:]]), since("split_model")),
    **{
        f"a patch of {name}": (lambda place, name=name: place.version(name, lambda v: [*v[:2], "999"]), NOTHING)
        for name in ("torch", "tokenizers", "onnxruntime")
    },
}
VARIABLES: dict[str, tuple[Change, frozenset[str]]] = {
    name: (lambda place, name=name: place.patch.setenv(name, "avx2"), NOTHING) for name in libraries.CHANGING_NUMBERS
}
"""They are recorded with each entry."""
TABLE = SETTINGS | FILES | LIBRARIES | VARIABLES


def without_stage(place: Place, stage: str) -> None:
    path = place.folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    del recipe["stages"][stage]
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))


def use_other_text(place: Place) -> None:
    text = (place.folder / "text.txt").read_text()
    (place.folder / "other.txt").write_text(text.replace("fox", "ox"))
    place.words.append("stages.quantization.calibration_text=other.txt")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("reruns")
    write_recipe(folder, technique="technique.yaml")
    technique = {"technique": "lpbq", "block_size": 64}
    (folder / "technique.yaml").write_text(yaml.safe_dump(technique))
    path = folder / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    recipe["stages"] |= {name: {"warmup": 1} for name in sorted(PROFILERS)}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(install(folder / "bin")), prepend=":")
        yield folder


@pytest.fixture(scope="module")
def before(original: Path) -> dict[str, dict[str, str]]:
    with pytest.MonkeyPatch.context() as patch:
        return Place(original, patch).keys()


@pytest.fixture
def place(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy at another path, which no key contains."""
    shutil.copytree(original, tmp_path / "copy", ignore=shutil.ignore_patterns("bin"))
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path / "copy", monkeypatch)


@pytest.mark.parametrize("change", TABLE)
def test_what_reruns(before: dict[str, dict[str, str]], place: Place, change: str) -> None:
    make, stages = TABLE[change]
    make(place)
    now = place.keys()
    assert {name for name in ORDER if now.get(name) != before.get(name)} == stages


def test_every_input_has_a_row() -> None:
    settings = {
        f"stages.{name}.{setting}"
        for name, stage in registered_stages().items()
        for setting in stage.config_type.model_fields
        if setting not in StageConfig.model_fields
    }
    settings |= {f"stages.*.{setting}" for setting in StageConfig.model_fields}
    assert settings | set(RecipeSettings.model_fields) == SETTINGS.keys() | EXTERNAL
    weights = {"model.safetensors", "model.safetensors.index.json"}
    others = {"config.json", "generation_config.json", *describe._TOKENIZER_FILES, ADDED_TOKENS}
    assert weights | others <= FILES.keys()
    packages = {package for stage in registered_stages().values() for package in stage.computed_with}
    assert packages <= LIBRARIES.keys()
    assert set(registered_stages()) == set(ORDER) | ADAPTERS


def adapted(change: Callable[[dict[str, Any]], object]) -> Change:
    """Change the recipe's `lora`."""

    def made(place: Place) -> None:
        path = place.folder / "recipe.yaml"
        recipe = yaml.safe_load(path.read_text())
        change(recipe["lora"])
        path.write_text(yaml.safe_dump(recipe, sort_keys=False))

    return made


def trained_further(place: Place) -> None:
    rewrite_tensors(place.folder / "poems", lambda tensors: [value.mul_(1.1) for value in tensors.values()])


def fourth_adapter(place: Place) -> None:
    shutil.copytree(place.folder / "french", place.folder / "german")
    rewrite_tensors(place.folder / "german", lambda tensors: [value.neg_() for value in tensors.values()])
    german = {"adapters": ["german"], "lora_scaling": [1.0], "calibration_dataset": "text.txt"}
    adapted(
        lambda lora: (lora["adapters"].update(german={"path": "german"}), lora["concurrencies"].update(german=german))
    )(place)


def other_rank(place: Place) -> None:
    base = AutoModelForCausalLM.from_pretrained(place.model)
    save_adapter(place.folder / "french", base, target_modules=["q_proj", "v_proj", "down_proj"], r=6)


def in_concurrency(name: str, key: str, value: object) -> Change:
    return adapted(lambda lora: lora["concurrencies"][name].update({key: value}))


GRAPHS = since("quantization") | ADAPTERS
WITH_ADAPTERS: dict[str, tuple[Change, frozenset[str]]] = {
    "an adapter trained further": (trained_further, frozenset({"lora_adapters both", "export_bundle all"})),
    "a fourth adapter in a concurrency of its own": (
        fourth_adapter,
        frozenset({"model_loading all", "lora_adapters german", "export_bundle all"}),
    ),
    "another strength": (
        in_concurrency("both", "lora_scaling", [0.7, 0.4]),
        frozenset({"lora_adapters both", "export_bundle all"}),
    ),
    "another calibration text": (in_concurrency("both", "calibration_dataset", "text.txt"), NOTHING),
    "another rank": (other_rank, frozenset({"model_loading all"}) | GRAPHS),
    "fewer modules": (
        adapted(lambda lora: lora["concurrencies"].pop("french")),
        GRAPHS,
    ),
    "quant_updatable_mode": (adapted(lambda lora: lora.update(quant_updatable_mode="all")), GRAPHS),
    "form": (adapted(lambda lora: lora.update(form="hot_switch")), GRAPHS),
    "without concurrencies": (adapted(lambda lora: lora["concurrencies"].clear()), GRAPHS),
}
"""Names of items, or of stages whose items all run."""


@pytest.fixture(scope="module")
def with_adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_adapted_recipe(tmp_path_factory.mktemp("adapted"), technique="minmax.yaml").parent
    made(opened(folder), until="quantization")
    return folder


@pytest.mark.parametrize("change", WITH_ADAPTERS)
def test_what_reruns_with_adapters(
    with_adapters: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    shutil.copytree(with_adapters, tmp_path / "copy")
    place = Place(tmp_path / "copy", monkeypatch)
    before = place.keys()
    make, wanted = WITH_ADAPTERS[change]
    make(place)
    now = place.keys()
    changed = {
        f"{stage} {label}"
        for stage in before.keys() | now.keys()
        for label in before.get(stage, {}).keys() | now.get(stage, {}).keys()
        if before.get(stage, {}).get(label) != now.get(stage, {}).get(label)
    }
    whole = {stage for stage in wanted if " " not in stage}
    assert {name if name.split()[0] not in whole else name.split()[0] for name in changed} == wanted


def opened(folder: Path, *words: str) -> LLMPipeline:
    return LLMPipeline.from_recipe(folder / "recipe.yaml", words, cache_dir=folder / "cache")


def made(pipeline: LLMPipeline, **options: Any) -> LLMPipeline:
    result = pipeline.construct(RunOptions(executor="inline", memory=10**10, **options))
    assert result.status == "done", result.failed
    return pipeline


def reasons(pipeline: LLMPipeline) -> dict[str, str]:
    return {item.name: item.reason for item in pipeline.plan().to_run()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run for the CPU."""
    folder = write_recipe(tmp_path_factory.mktemp("finished"), backend="CPU", technique="minmax.yaml").parent
    made(opened(folder))
    return folder


def contents(item: PlannedItem) -> dict[str, str]:
    assert item.entry is not None
    return {name: file["sha256"] for name, file in item.entry.files.items()}


def test_what_keeps_its_key_has_the_same_content(finished: Path, place: Place) -> None:
    """What an item does not read according to its key, it does not read."""
    shutil.copytree(finished / "model", place.model, dirs_exist_ok=True)
    shutil.copy(finished / "recipe.yaml", place.folder)
    for change in ("generation_config.json", "tokenizer_config.json: chat_template"):
        FILES[change][0](place)
    rewritten(place)
    before = {item.name: item for item in opened(finished).plan().items}
    after = {item.name: item for item in made(opened(place.folder)).plan().items}
    changed = {name for name, item in after.items() if item.key != before[name].key}
    assert changed == {"model_loading all", "export_bundle all"}
    made_by = {name: item.entry.made_with for name, item in after.items() if item.entry and item.entry.made_with}
    assert made_by["quantization all"] == libraries.made_with(("torch", "tokenizers"))
    assert made_by["split_model ar1-split1"] == libraries.made_with(("onnxruntime",))
    assert {name.split()[0] for name in made_by} == {"quantization", "split_model"}
    for name in after.keys() - changed:
        assert contents(after[name]) == contents(before[name]), name
    for name in changed:
        assert contents(after[name]) != contents(before[name]), name


def test_reasons_name_the_facet_and_the_library(finished: Path, place: Place) -> None:
    for name in ("model", "cache", "recipe.yaml"):
        shutil.rmtree(place.folder / name, ignore_errors=True)
        (shutil.copytree if (finished / name).is_dir() else shutil.copy)(finished / name, place.folder / name)
    assert reasons(opened(place.folder)) == {}
    FILES["generation_config.json"][0](place)
    ends = "the start and end tokens of the model changed"
    assert reasons(opened(place.folder)) == {"model_loading all": ends, "export_bundle all": ends}
    FILES["tokenizer_config.json: chat_template"][0](place)
    template = "the chat template of the model changed (and 1 more)"
    assert reasons(opened(place.folder)) == {"model_loading all": template, "export_bundle all": template}
    place.version("torch", lambda _: ["2", "999", "1"])
    found = reasons(opened(place.folder))
    assert len(found) == 22
    changed = f"torch {'.'.join(metadata.version('torch').split('.')[:2])} → 2.999"
    assert found["quantization all"] == changed
    assert found["export all"] == f"quantization all runs: {changed}" or changed in found["export all"]


def test_results_of_an_earlier_version_are_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their keys took the model as one, by the bytes of its files, and held no library."""
    recipe = yaml.safe_load((place.folder / "recipe.yaml").read_text())
    for stage in sorted(PROFILERS):
        del recipe["stages"][stage]
    recipe |= {"backend": "CPU"}
    recipe["stages"]["quantization"]["recipe"] = "minmax.yaml"
    (place.folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    with monkeypatch.context() as earlier:
        earlier.setattr(ModelLoading, "facets", lambda self, env: ())
        earlier.setattr(ModelLoading, "cache_key_extras", ModelLoading.earlier_key_extras)
        for stage in registered_stages().values():
            earlier.setattr(stage, "computed_with", ())
        made(opened(place.folder), until="prepare_exports")
    kept = {item.name for item in opened(place.folder).plan().items if item.cached}
    assert kept == {"model_loading all", "quantization all", "export all", "prepare_exports ar1", "prepare_exports ar8"}
    FILES["generation_config.json"][0](place)
    told = "was made by an earlier version of qairt, which did not record which parts of the model it depends on"
    found = reasons(opened(place.folder))
    assert found["quantization all"] == f"quantization all {told}"
    assert found["export all"] == f"quantization all changed: quantization all {told}"


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        ((), NOTHING),
        (("stages.export.onnx={folder}/renamed.onnx", "stages.export.encodings={folder}/renamed.encodings"), NOTHING),
        (("stages.export.encodings={folder}/other.encodings",), since("export")),
        (("stages.export.onnx={folder}/other.onnx",), since("export")),
        (('stages.export.io_names={{"logits": "logits"}}',), since("export")),
        (("external data",), since("export")),
    ],
)
def test_an_external_graph(finished: Path, place: Place, words: tuple[str, ...], stages: frozenset[str]) -> None:
    opened(finished).export_workfolder(place.folder / "work")
    (folder,) = (place.folder / "work" / "models_ar_n").glob("ar8-*")
    shutil.copytree(folder / "onnx", place.folder / "graph")
    onnx = next((place.folder / "graph").glob("*.onnx"))
    encodings = onnx.with_suffix(".encodings")
    for name in ("renamed", "other"):
        shutil.copy(onnx, onnx.with_name(f"{name}.onnx"))
        shutil.copy(encodings, onnx.with_name(f"{name}.encodings"))
    other_graph(onnx.with_name("other.onnx"))
    onnx.with_name("other.encodings").write_text(encodings.read_text() + "\n")
    recipe = yaml.safe_load((finished / "recipe.yaml").read_text())
    graph = {"onnx": str(onnx), "encodings": str(encodings)}
    stages_of = {name: recipe["stages"][name] for name in ORDER[4:] if name not in ("export_bundle",)}
    (place.folder / "recipe.yaml").write_text(
        yaml.safe_dump({"backend": "CPU", "stages": stages_of | {"export": graph}}, sort_keys=False)
    )
    before = place.keys()
    if words == ("external data",):
        weights = onnx.with_name("weights.bin")
        weights.chmod(0o600)
        weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    else:
        place.words += [each.format(folder=onnx.parent) for each in words]
    now = place.keys()
    assert {name for name in now if now[name] != before[name]} == stages & now.keys()


def other_graph(path: Path) -> None:
    import onnx

    model = onnx.load(path, load_external_data=False)
    model.doc_string = "other"
    onnx.save(model, path)
