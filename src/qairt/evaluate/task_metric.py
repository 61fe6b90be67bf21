"""The base of metrics that lm-eval measures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from qairt.evaluate.metric import Metric
from qairt.recipe.files import RecipeFile


class TaskMetric(Metric):
    """A task of lm-eval: the first of its scores (`acc`, `acc_norm`, `exact_match`, …), 0 … 1."""

    version = 2
    data_arguments = frozenset({"num_fewshot", "limit", "include_path", "score"})

    num_fewshot: Annotated[int | None, Field(ge=0)] = None
    """Examples in the prompt; the task's own number when left out."""
    limit: Annotated[int | None, Field(gt=0)] = None
    """Questions of each (sub)task; all of them when left out."""
    include_path: Annotated[str | None, RecipeFile("folder")] = None
    """The folder of your own tasks' files, as lm-eval's `--include_path`."""
    score: str | None = None
    """Which of the task's scores, such as `acc_norm`; its first when left out."""

    @property
    def task_name(self) -> str:
        """lm-eval's name of the task."""
        return self.name
