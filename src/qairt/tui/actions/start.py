"""Starting the planned run."""

from __future__ import annotations

from functools import partial

from qairt.engine.plan.announce import planned_entries
from qairt.engine.record.state import RunState
from qairt.engine.run.options import RunOptions
from qairt.project import Project
from qairt.tui.session import ThreadSession
from qairt.tui.workspace import Workspace

_RECORDS_INTERVAL = 0.1  # seconds


class StartActions:
    """Starts the run in this process, or with `own_process` in one that outlives it."""

    def __init__(self, workspace: Workspace, *, own_process: bool) -> None:
        self._workspace = workspace
        self._own_process = own_process

    def start(self, options: RunOptions | None = None) -> None:
        """Start the planned run.

        Args:
            options: None for those of the command line.
        """
        workspace = self._workspace
        app, project, run = workspace.app, workspace.project, workspace.run
        pipeline = project.planned.pipeline
        if workspace.is_refused():
            return
        if run.is_active:
            app.notify(f"run {run.session.state.run_id} is already running", severity="warning")
        elif run.is_in_process:
            app.set_timer(_RECORDS_INTERVAL, partial(self.start, options))  # the run before is writing its records
        elif pipeline is None:
            app.notify("the recipe cannot run: press p to see why", severity="error")
        elif self._own_process:
            app.notify("starting the run in its own process")
            workspace.background.run(partial(project.start_in_background, options), workspace.attach)
        else:
            session = ThreadSession(pipeline, options or project.options, state_of_plan(project))
            workspace.show_session(session)
            app.run_worker(
                session.execute, name="engine", group="engine", thread=True, exclusive=True, exit_on_error=False
            )
            workspace.open_monitor()


def state_of_plan(project: Project) -> RunState:
    """The state of a run of the latest plan that has not started."""
    plan, options = project.planned.plan, project.options
    return RunState.of_plan(
        planned_entries(plan) if plan is not None else (),
        recipe=str(project.recipe),
        cache_dir=str(project.cache_dir),
        jobs=options.jobs,
        memory=options.ram,
    )
