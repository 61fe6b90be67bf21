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
from nsys_stand_in import install
from tiny_recipe import write_recipe

import qairt.stages  # noqa: F401 - registers them
from qairt.engine import libraries
from qairt.engine.stage import registered_stages
from qairt.llm import LLMPipeline
from qairt.model import describe
from qairt.recipe.settings import RecipeSettings

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
    "stages.convert.toolchain": (word(SDK_CHAIN[0]), since("convert")),
    "stages.quantize.toolchain": (word(*SDK_CHAIN), since("convert")),
    "stages.quantize.act_bitwidth": (word("stages.quantize.act_bitwidth=8"), NOTHING),
    "stages.quantize.bias_bitwidth": (word("stages.quantize.bias_bitwidth=16"), NOTHING),
    "stages.generate_context_binary.toolchain": (
        word(*SDK_CHAIN, "stages.generate_context_binary.toolchain=sdk"),
        since("convert"),
    ),
    "stages.generate_context_binary.optimization_level": (
        word("stages.generate_context_binary.optimization_level=1"),
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
        for stage in PROFILERS
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
    "chat_template.jinja": (in_model("chat_template.jinja", "{{ messages }}"), ENDS),
    "chat_template.json": (put("chat_template.json", "chat_template", "{{ messages }}"), ENDS),
    "config.json: eos_token_id": (put("config.json", "eos_token_id", 255), ENDS),
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
    recipe["stages"] |= {name: {"warmup": 1} for name in PROFILERS}
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
        if setting not in ("output", "overrides")
    }
    assert settings | set(RecipeSettings.model_fields) == SETTINGS.keys() | EXTERNAL
    weights = {"model.safetensors", "model.safetensors.index.json"}
    others = {"config.json", "generation_config.json", *describe._TOKENIZER_FILES}
    assert weights | others <= FILES.keys()
    packages = {package for stage in registered_stages().values() for package in stage.computed_with}
    assert packages <= LIBRARIES.keys()
    assert set(registered_stages()) == set(ORDER)
