"""The base class of stages whose artifacts come from a toolchain: the wheel or a QAIRT SDK."""

from __future__ import annotations

from typing import TypeVar

from qairt.engine.artifact import OutT
from qairt.engine.stage import Env, InT, KeyFacts, Stage
from qairt.stages.toolchain_choice import ToolchainChoice, check_toolchain, require_tools, version_of

ChoiceT = TypeVar("ChoiceT", bound=ToolchainChoice)


class ToolchainStage(Stage[ChoiceT, InT, OutT]):
    """Checks that the chosen toolchain can be used, and puts its version into the key."""

    def check(self, env: Env) -> None:
        check_toolchain(self.name, env)

    def check_tools(self, env: Env) -> None:
        require_tools(self.name, env)

    def cache_key_extras(self, env: Env) -> KeyFacts:
        return version_of(self.name, env)
