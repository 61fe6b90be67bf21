"""Starting the planned run."""

from __future__ import annotations

from functools import partial

from qairt.engine.run.options import RunOptions
from qairt.tui.session import ThreadSession
from qairt.tui.workspace import Workspace


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
        elif pipeline is None:
            app.notify("the recipe cannot run: press p to see why", severity="error")
        elif self._own_process:
            app.notify("starting the run in its own process")
            workspace.background.run(partial(project.start_in_background, options), workspace.attach)
        else:
            session = ThreadSession(pipeline, options or project.options, run.session.state)
            workspace.show_session(session)
            app.run_worker(
                session.execute, name="engine", group="engine", thread=True, exclusive=True, exit_on_error=False
            )
            workspace.open_monitor()
