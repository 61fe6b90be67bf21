"""The result of a pipeline's last run, as attributes of the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qairt.engine.record.events import EndStatus
    from qairt.engine.run.options import RunResult
    from qairt.errors import ItemFailed


class LastResult:
    """`pipeline.construct().status`: what the last run of a pipeline gave.

    The attributes raise an AttributeError before the first run; `result` is None then.
    """

    result: RunResult | None = None

    @property
    def run_id(self) -> str:
        return self.last_run.run_id

    @property
    def status(self) -> EndStatus:
        """How the run ended."""
        return self.last_run.status

    @property
    def executed(self) -> list[str]:
        """The names of the items that ran."""
        return self.last_run.executed

    @property
    def failed(self) -> list[ItemFailed]:
        return self.last_run.failed

    @property
    def failed_outputs(self) -> list[ItemFailed]:
        """Predictions and pictures that could not be written."""
        return self.last_run.failed_outputs

    @property
    def output(self) -> Any:
        """The outputs of the last stage, folded back by every stage's `reduce`; None if the run did not finish."""
        return self.last_run.output

    @property
    def last_run(self) -> RunResult:
        if self.result is None:
            raise AttributeError("this pipeline has not run yet: call construct() first")
        return self.result
