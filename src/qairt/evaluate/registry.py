"""Every metric by name."""

from __future__ import annotations

from qairt.evaluate import metric as metrics
from qairt.evaluate.metric import Metric


def registered_metrics() -> dict[str, type[Metric]]:
    """All metrics by name: qairt's own, and those that a user registered."""
    import qairt.evaluate.answers
    import qairt.evaluate.tasks
    import qairt.evaluate.text_metrics  # noqa: F401 - they register themselves

    return dict(metrics._registry)
