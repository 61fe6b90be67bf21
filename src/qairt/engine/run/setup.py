"""What a run executes, and what it leaves about itself before the first item starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qairt.engine.cache.manifest import PipelineManifest
from qairt.engine.plan.announce import planned_entries
from qairt.engine.plan.machine_speed import planned_for_this_machine
from qairt.engine.plan.plan import Planner
from qairt.engine.plan.planned import Plan
from qairt.engine.plan.tools import tools_of
from qairt.engine.record import events as ev
from qairt.engine.record.eta import remaining
from qairt.engine.record.folder import RunFolder
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.engine.run.stream import EventStream
from qairt.machine import available_cores, total_memory
from qairt.recipe.recipe import Recipe


@dataclass(frozen=True)
class RunSetup:
    """What a run executes, and what it records about itself."""

    planner: Planner
    manifest: PipelineManifest
    recipe: Recipe
    folder: RunFolder
    """The run's own folder, held by this process."""
    notices: Sequence[str] = ()
    warnings: Sequence[str] = ()
    """About the recipe or the cache directory; repeated in the run's log."""
    not_kept: frozenset[str] = frozenset()
    """Stages whose results are deleted when the run has ended."""

    def plan(self) -> Plan:
        """What is to run, with estimates for this machine."""
        return planned_for_this_machine(self.planner.plan)

    def keep(self, plan: Plan) -> None:
        """Write what this run executes into its folder."""
        env = self.planner.env
        if self.recipe:
            self.recipe.to_yaml(self.folder.path / "recipe.yaml")
        configs = {name: config.model_dump(mode="json") for name, config in env.configs.items()}
        settings = env.settings.model_dump(mode="json") if env.settings is not None else {}
        self.folder.write("resolved.json", {"settings": settings, "stages": configs})
        self.folder.write("plan.json", plan.as_dict())
        self.folder.write("tools.json", tools_of(plan))

    def announce(self, plan: Plan, options: RunOptions, stream: EventStream) -> None:
        """Emit what is about to run, then the notices and warnings."""
        items = planned_entries(plan)
        eta = remaining(RunState.of_plan(items), 0.0, jobs=options.jobs, memory=options.ram)
        stream.emit(
            ev.RunStarted(
                run_id=self.folder.id,
                recipe=str(self.recipe.source) if self.recipe.source else "",
                cache_dir=str(self.planner.cache.cache_dir.parent),
                pid=os.getpid(),
                host=socket.gethostname(),
                jobs=options.jobs,
                cores=available_cores(),
                memory=options.ram,
                ram=total_memory(),
                scheduler=options.scheduler,
                disk=options.disk or 0,
                seconds=round(eta.seconds, 1),
                seconds_low=round(eta.low, 1),
                seconds_high=round(eta.high, 1),
                items=items,
            )
        )
        levels: tuple[tuple[Literal["info", "warning"], Sequence[str]], ...] = (
            ("info", self.notices),
            ("warning", self.warnings),
        )
        for level, messages in levels:
            for message in messages:
                stream.emit(ev.LogLine(level=level, message=message))
