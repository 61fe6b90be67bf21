"""`adapter_config.json` of PEFT: ranks and scalings by module, and what an adapter needs that the decoder has not.

Matching of names is PEFT's (`check_target_module_exists` and `get_pattern_key`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import sqrt
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from qairt.errors import ModelError
from qairt.model.json_file import read_json_object

ADAPTER_CONFIG = "adapter_config.json"
MERGE = "merge it into the base model (in peft: model.merge_and_unload().save_pretrained(directory)) and use that model"
_AS_PUBLISHED = "use the adapter_config.json that was saved with the adapter"
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Values of `init_lora_weights` for which PEFT subtracts the first adapter from the base model's weights."""
_REFUSED = {
    "use_dora": "DoRA (use_dora)",
    "lora_bias": "a bias in its B (lora_bias)",
    "modules_to_save": "modules that were trained whole (modules_to_save)",
    "trainable_token_indices": "trained token embeddings (trainable_token_indices)",
    "target_parameters": "adapted parameters that are no linears (target_parameters)",
    "layer_replication": "replicated layers (layer_replication)",
    "alora_invocation_tokens": "aLoRA, which begins at a token (alora_invocation_tokens)",
    "use_qalora": "QA-LoRA, which pools its inputs (use_qalora)",
    "use_bdlora": "block-diagonal LoRA (use_bdlora)",
    "arrow_config": "a router of adapters (arrow_config)",
    "kasa_config": "KaSA (kasa_config)",
    "monteclora_config": "MonteCLoRA (monteclora_config)",
}
_NO_EFFECT = {
    *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision"),
    *("task_type", "bias", "fan_in_fan_out", "lora_dropout", "runtime_config", "megatron_config", "megatron_core"),
    *("eva_config", "corda_config", "loftq_config", "lora_ga_config", "velora_config", "qalora_group_size"),
    *("ensure_weight_tying", "init_lora_weights"),
}
"""On the answer of an adapter as it is stored: where one was trained, how, and by whom. What `bias`, `loftq_config`
and `ensure_weight_tying` add is in the file, or in `init_lora_weights`. `fan_in_fan_out` is for base layers that store
[in, out] (Conv1D of GPT-2): A is [rank, in] and B [out, rank] with it as without."""


T = TypeVar("T", int, float)


class PeftLora(BaseModel):
    """The settings of `LoraConfig` that say what is adapted, and how strongly."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    r: int
    lora_alpha: Annotated[float, Field(allow_inf_nan=False)]
    use_rslora: bool = False
    rank_pattern: dict[str, int] | None = None
    alpha_pattern: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = None
    target_modules: str | list[str]
    exclude_modules: str | list[str] | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: str | list[str] | None = None
    base_model_name_or_path: str | None = None

    def rank(self, module: str) -> int:
        return _by_pattern(self.rank_pattern, module, self.r)

    def scaling(self, module: str) -> float:
        """alpha / rank, or alpha / sqrt(rank) with rank-stabilised LoRA."""
        rank, alpha = self.rank(module), _by_pattern(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (sqrt(rank) if self.use_rslora else rank)

    def targets(self, module: str) -> bool:
        """Whether PEFT adapts a linear of this name in a decoder's layers."""
        if _named(self.exclude_modules, module):
            return False
        if isinstance(self.target_modules, str):
            if self.target_modules.lower() == "all-linear":
                return True
            return re.fullmatch(self.target_modules, module) is not None
        return _named(self.target_modules, module) and self._transforms(module)

    def _transforms(self, module: str) -> bool:
        layers = self.layers_to_transform
        if layers is None or layers == []:
            return True
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        expressions = [rf"(?:^|.*?\.){each}\.(\d+)\." for each in patterns or ()] or [r".*?\.[^.]*\.(\d+)\."]
        found = next((match for each in expressions if (match := re.match(each, module))), None)
        return found is not None and int(found[1]) in ([layers] if isinstance(layers, int) else layers)


def read_peft_lora(directory: Path) -> PeftLora:
    """The settings of the LoRA adapter in a folder.

    Raises:
        ModelError: there is none, it is no LoRA, or it needs what is not supported; names the setting.
    """
    path = directory / ADAPTER_CONFIG
    if not path.is_file():
        raise ModelError(
            f"the adapter's folder has no {ADAPTER_CONFIG}",
            where=str(directory),
            remedy="give a folder that peft's save_pretrained wrote: adapter_config.json, adapter_model.safetensors",
        )
    stated = read_json_object(path, _AS_PUBLISHED)
    _refuse_unsupported(stated, path)
    try:
        settings = PeftLora.model_validate(stated)
    except ValidationError as error:
        first = error.errors()[0]
        setting = ".".join(map(str, first["loc"]))
        raise ModelError(f"{setting}: {first['msg']}", where=str(path), remedy=_AS_PUBLISHED) from error
    _check_ranks(settings, path)
    _check_expressions(settings, path)
    return settings


def _refuse_unsupported(stated: Mapping[str, JsonValue], path: Path) -> None:
    kind = stated.get("peft_type")
    if kind != "LORA":
        raise ModelError(
            f"this is a {kind} adapter" if isinstance(kind, str) else "peft_type is missing",
            where=str(path),
            remedy="use a LoRA adapter (peft_type LORA)",
        )
    for setting, what in _REFUSED.items():
        if stated.get(setting):
            raise ModelError(f"the adapter has {what}, which is not supported", where=str(path), remedy=MERGE)
    init = stated.get("init_lora_weights")
    if isinstance(init, str) and init.lower().startswith(_CHANGES_BASE):
        raise ModelError(
            f"the adapter was initialised by {init}, which changed the weights of its base model",
            where=str(path),
            remedy="save it as an ordinary LoRA: in peft, save_pretrained(directory, "
            "path_initial_model_for_weight_conversion=the adapter before training)",
        )
    known = {*PeftLora.model_fields, *_REFUSED, *_NO_EFFECT}
    for setting, value in stated.items():
        if setting not in known and value not in (None, False, "", [], {}):
            raise ModelError(
                f"the adapter's setting {setting} is not known, so its effect cannot be computed",
                where=str(path),
                remedy=MERGE,
            )


def _check_ranks(settings: PeftLora, path: Path) -> None:
    for name, rank in {"r": settings.r, **(settings.rank_pattern or {})}.items():
        if rank < 1:
            setting = name if name == "r" else f"rank_pattern.{name}"
            raise ModelError(f"{setting} is {rank}", where=str(path), remedy="the rank of an adapter is at least 1")


def _check_expressions(settings: PeftLora, path: Path) -> None:
    layers = settings.layers_pattern
    given: dict[str, Iterable[str]] = {
        "target_modules": [settings.target_modules] if isinstance(settings.target_modules, str) else (),
        "exclude_modules": [settings.exclude_modules] if isinstance(settings.exclude_modules, str) else (),
        "layers_pattern": [layers] if isinstance(layers, str) else layers or (),
        "rank_pattern": settings.rank_pattern or (),
        "alpha_pattern": settings.alpha_pattern or (),
    }
    for setting, expressions in given.items():
        for expression in expressions:
            try:
                re.compile(expression)
            except re.error as error:
                raise ModelError(
                    f"{setting}: {expression!r} is not a regular expression: {error}",
                    where=str(path),
                    remedy=_AS_PUBLISHED,
                ) from error


def _named(names: str | list[str] | None, module: str) -> bool:
    if isinstance(names, str):
        return bool(names) and re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names or ())


def _by_pattern(patterns: Mapping[str, T] | None, module: str, default: T) -> T:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
