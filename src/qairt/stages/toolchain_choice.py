"""The choice of the toolchain that makes a stage's NPU artifacts: the wheel (`qnn`) or a QAIRT SDK (`sdk`).

1. The SDK's quantizer reads the encodings from the DLC, and only the SDK's converter writes them there.
2. The SDK's generator takes the DLCs of the SDK's quantizer.
3. The wheel works from our ONNX, so it can follow the SDK at any stage.
4. The SDK's version is part of the key; its folder and the recipe's word for it are not.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import field_validator

from qairt.engine.stage import Env, Override, StageConfig
from qairt.errors import ContractViolation, ToolchainNotAvailable
from qairt.stages.facts import settings_of

if TYPE_CHECKING:
    from qairt.toolchain.base import Toolchain
    from qairt.toolchain.sdk.install import Sdk

REQUIRED_STAGE: Mapping[str, tuple[str, str]] = {
    "quantize": ("convert", "qairt-quantizer reads the encodings from the DLC, and only qairt-converter writes them"),
    "generate_context_binary": ("quantize", "qnn-context-binary-generator takes the DLCs of qairt-quantizer"),
}
"""For a stage that uses the SDK: the stage before it that must use the SDK too, and why."""

SDK_PATH = "SDK"
"""The key of the SDK's folder in `Task.paths`."""


class ToolchainChoice(StageConfig):
    """The toolchain setting that three stages share."""

    not_in_key: ClassVar[frozenset[str]] = StageConfig.not_in_key | {"toolchain"}

    toolchain: Literal["qnn", "sdk"] = "qnn"
    """`qnn`: the compiler in the wheel onnxruntime-qnn. `sdk`: the tools of the QAIRT SDK in `sdk_root` or
    `$QAIRT_SDK_ROOT`."""

    @field_validator("overrides")
    @classmethod
    def _same_for_all_items(cls, overrides: list[Override]) -> list[Override]:
        if any("toolchain" in override.set for override in overrides):
            raise ValueError("toolchain applies to the whole stage: it cannot differ by coordinate")
        return overrides


def uses_sdk(config: StageConfig | None) -> bool:
    """Whether a stage with these settings uses an SDK."""
    return isinstance(config, ToolchainChoice) and config.toolchain == "sdk"


def sdk_stages(env: Env) -> list[str]:
    """The stages of a recipe that use an SDK."""
    return [name for name, config in env.configs.items() if uses_sdk(config)]


def check_toolchain(stage: str, env: Env) -> None:
    """
    Raises:
        ToolchainNotAvailable: the stage uses the wheel, which is missing or too old.
        ContractViolation: the stage uses the SDK, and the stage it depends on is missing or uses the wheel.
    """
    if not uses_sdk(env.configs[stage]):
        from qairt.toolchain.qnn.wheel import require

        require()
        return
    if stage not in REQUIRED_STAGE:
        return
    needed, why = REQUIRED_STAGE[stage]
    if uses_sdk(env.configs.get(needed)):
        return
    where = f"stages.{stage}.toolchain"
    if needed not in env.configs:
        raise ContractViolation(f"toolchain: sdk needs the stage {needed}: {why}", where=where, remedy=f"add {needed}")
    raise ContractViolation(
        f"toolchain: sdk needs the same of the stage {needed}: {why}",
        where=where,
        remedy=f"set stages.{needed}.toolchain to sdk too, or this one to qnn",
    )


def sdk_root(env: Env) -> Path | None:
    """The folder that the recipe or the environment names, None where neither does."""
    from qairt.toolchain.sdk.install import configured_root

    setting = settings_of(env).sdk_root
    return configured_root(None if setting is None else Path(setting))


def sdk_of(env: Env) -> Sdk:
    """The recipe's SDK.

    Raises:
        ToolchainNotAvailable: none is configured, or the folder is not an SDK.
    """
    from qairt.toolchain.sdk.open import open_sdk

    return env.once("sdk", lambda: open_sdk(sdk_root(env)))


def paths_of(stage: str, env: Env) -> dict[str, Path]:
    """The paths that a task of `stage` needs to find its tools; empty for `qnn`, and where no SDK is configured."""
    root = sdk_root(env) if uses_sdk(env.configs[stage]) else None
    return {SDK_PATH: root} if root is not None else {}


def toolchain_of(config: ToolchainChoice, paths: Mapping[str, Path], *, threads: int) -> Toolchain:
    """The toolchain of a task.

    Args:
        config: the stage's settings.
        paths: from `paths_of`.
        threads: the most that a tool may use.

    Raises:
        ToolchainNotAvailable: the SDK is missing.
    """
    if config.toolchain == "qnn":
        from qairt.toolchain.qnn.compiler import QnnToolchain

        return QnnToolchain()
    from qairt.toolchain.sdk.open import open_sdk
    from qairt.toolchain.sdk.tools import SdkToolchain

    return SdkToolchain(open_sdk(paths.get(SDK_PATH)), threads=threads)


def version_of(stage: str, env: Env) -> tuple[tuple[str, str], ...]:
    """The toolchain's version, for the keys of the stage's items. Planning works without the SDK."""
    if not uses_sdk(env.configs[stage]):
        from qairt.toolchain.qnn.wheel import version

        return (("toolchain", version()),)
    try:
        return (("toolchain", sdk_of(env).describe()),)
    except ToolchainNotAvailable:
        return (("toolchain", "QAIRT SDK, not found"),)


def require_tools(stage: str, env: Env) -> None:
    """Check that the tools of `stage` are installed; the SDK is checked once for all stages.

    Raises:
        ToolchainNotAvailable: it is missing, too old, or incomplete.
    """
    if not uses_sdk(env.configs[stage]):
        return
    from qairt.toolchain.sdk.findings import require

    def check() -> bool:
        for finding in require(sdk_of(env)):
            warnings.warn(f"{finding.text}; {finding.remedy}", UserWarning, stacklevel=2)
        return True

    env.once("sdk is complete", check)
