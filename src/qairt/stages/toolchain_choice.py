"""Which tools make a stage's NPU artifacts: the wheel's (`qnn`) or those of a QAIRT SDK (`sdk`).

1. The SDK's quantizer takes its encodings from the DLC, and only the SDK's converter puts them there.
2. The SDK's generator takes the DLCs of the SDK's quantizer.
3. The wheel makes everything from our own ONNX, so it can follow on the SDK anywhere.
4. The SDK's version is part of the key, not the folder that it lies in, and not the word in the recipe.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import field_validator

from qairt.engine.stage import Env, Override, StageConfig
from qairt.errors import ContractViolation, ToolchainNotAvailable
from qairt.stages.facts import settings_of

if TYPE_CHECKING:
    from qairt.toolchain.sdk.place import Sdk

NEEDS: Mapping[str, tuple[str, str]] = {
    "quantize": ("convert", "qairt-quantizer takes the encodings from the DLC, where only qairt-converter puts them"),
    "generate_context_binary": ("quantize", "qnn-context-binary-generator takes the DLCs that qairt-quantizer made"),
}
"""Of a stage made by the SDK: the stage that it must be made by too, and why."""

CONTEXT = "SDK"
"""Among a task's paths: the SDK's folder."""


class ToolchainChoice(StageConfig):
    """A stage's choice between the two."""

    not_in_key: ClassVar[frozenset[str]] = StageConfig.not_in_key | {"toolchain"}

    toolchain: Literal["qnn", "sdk"] = "qnn"
    """`qnn`: the compiler in the wheel onnxruntime-qnn. `sdk`: the tools of a QAIRT SDK, in the folder that `sdk_root`
    or `$QAIRT_SDK_ROOT` names."""

    @field_validator("overrides")
    @classmethod
    def _of_the_whole_stage(cls, overrides: list[Override]) -> list[Override]:
        if any("toolchain" in override.set for override in overrides):
            raise ValueError("toolchain is of the whole stage: it cannot differ by coordinate")
        return overrides


def uses_sdk(config: StageConfig | None) -> bool:
    """Whether a stage with these settings calls an SDK."""
    return isinstance(config, ToolchainChoice) and config.toolchain == "sdk"


def sdk_stages(env: Env) -> list[str]:
    """The stages of a recipe that call an SDK."""
    return [name for name, config in env.configs.items() if uses_sdk(config)]


def check_toolchain(stage: str, env: Env) -> None:
    """
    Raises:
        ToolchainNotAvailable: the wheel is to make the stage's artifacts, and is missing or too old.
        ContractViolation: a stage made by the SDK needs what another toolchain, or no stage, makes.
    """
    if not uses_sdk(env.configs[stage]):
        from qairt.toolchain.qnn.wheel import require

        require()
        return
    if stage not in NEEDS:
        return
    needed, why = NEEDS[stage]
    if uses_sdk(env.configs.get(needed)):
        return
    where = f"stages.{stage}.toolchain"
    if needed not in env.configs:
        raise ContractViolation(f"toolchain sdk needs the stage {needed}: {why}", where=where, remedy=f"add {needed}")
    raise ContractViolation(
        f"toolchain sdk needs {needed} to be made by the SDK too: {why}",
        where=where,
        remedy=f"set stages.{needed}.toolchain to sdk as well, or this one to qnn",
    )


def sdk_root(env: Env) -> Path | None:
    """The folder that the recipe or the environment names."""
    from qairt.toolchain.sdk.place import named_root

    setting = settings_of(env).sdk_root
    return named_root(None if setting is None else Path(setting))


def sdk_of(env: Env) -> Sdk:
    """The recipe's SDK.

    Raises:
        ToolchainNotAvailable: none is named, or the folder holds none.
    """
    from qairt.toolchain.sdk.open import open_sdk

    sdk: Sdk = env.once("sdk", lambda: open_sdk(sdk_root(env)))
    return sdk


def paths_of(stage: str, env: Env) -> dict[str, Path]:
    """What a task of `stage` must know to find its tools; empty for `qnn`, and where no SDK is named."""
    root = sdk_root(env) if uses_sdk(env.configs[stage]) else None
    return {CONTEXT: root} if root is not None else {}


def opened(paths: Mapping[str, Path]) -> Sdk:
    """The SDK that a task was given by `paths_of`.

    Raises:
        ToolchainNotAvailable: it is not there.
    """
    from qairt.toolchain.sdk.open import open_sdk

    return open_sdk(paths.get(CONTEXT))


def version_of(stage: str, env: Env) -> tuple[tuple[str, Any], ...]:
    """The toolchain's version, for the key of `stage`'s items. A missing SDK is no error: the plan says it runs."""
    if not uses_sdk(env.configs[stage]):
        from qairt.toolchain.qnn.wheel import version

        return (("toolchain", version()),)
    try:
        return (("toolchain", sdk_of(env).describe()),)
    except ToolchainNotAvailable:
        return (("toolchain", "QAIRT SDK, not found"),)


def require_tools(stage: str, env: Env) -> None:
    """What must be installed for `stage`; an SDK is looked at once, whichever stages use it.

    Raises:
        ToolchainNotAvailable: it is missing, too old, or not whole.
    """
    if not uses_sdk(env.configs[stage]):
        return
    from qairt.toolchain.sdk.findings import require

    def look() -> bool:
        for finding in require(sdk_of(env)):
            warnings.warn(f"{finding.text}; {finding.remedy}", UserWarning, stacklevel=2)
        return True

    env.once("sdk is whole", look)
