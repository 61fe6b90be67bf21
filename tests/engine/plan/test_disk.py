"""What a plan takes on disk at its peak: as a run of it does, in the order that its limit allows."""

from __future__ import annotations

from pathlib import Path

import pytest
import toy_stages as toy

from qairt.engine.axes import value_of
from qairt.engine.pipeline import Pipeline
from qairt.engine.plan.disk import DiskUse, least_disk, peak_disk, within
from qairt.engine.record.events import ItemStarted
from qairt.engine.run.disk import expected_peak, require_within_limit
from qairt.engine.run.options import RunOptions
from qairt.engine.stage import Estimate, Expansion, Task
from qairt.errors import CacheError

BIG, SMALL = 1_000_000, 10_000


class Fan(toy.Fan):
    """Large files, for the stage after it alone."""

    worth = "intermediate"

    def expand(self, batch, env) -> Expansion:
        tasks = super().expand(batch, env).tasks
        large = Estimate(bytes=BIG, seconds=1.0, peak_ram=1000)
        return Expansion([task.model_copy(update={"estimate": large}) for task in tasks])

    def run(self, task, context):
        output = super().run(task, context)
        output.text.write_text(str(value_of(task.coord, "ar")) * BIG)
        return output


class First(toy.Upper):
    """Its results stay."""

    def applies_to(self, coord) -> bool:
        return True

    def expand(self, batch, env) -> Expansion:
        small = Estimate(bytes=SMALL, seconds=0.1, peak_ram=1000)
        return Expansion([Task(coord=coord, sources=(coord,), estimate=small) for coord in batch])

    def run(self, task, context):
        path = context.directory / "text.txt"
        path.write_text(context.input.text.read_text()[:SMALL])
        return toy.Text(text=path)


def pipeline(folder: Path, keep: str = "results", items: int = 4) -> Pipeline:
    arn = list(range(1, items + 1))
    return Pipeline([toy.Source(), Fan(toy.FanConfig(arn=arn)), First(), toy.Join()], folder, keep=keep)


class Sharing(Fan):
    """All its items share the file of the first."""

    def expand(self, batch, env) -> Expansion:
        first, *others = super().expand(batch, env).tasks
        small = Estimate(bytes=0, seconds=1.0, peak_ram=1000)
        tasks = [first, *(task.model_copy(update={"estimate": small}) for task in others)]
        return Expansion([task.model_copy(update={"shares": "all"}) for task in tasks])


def test_a_shared_file_is_free_when_nobody_reads_any_of_the_items_that_share_it(tmp_path):
    made = Pipeline(
        [toy.Source(), Sharing(toy.FanConfig(arn=[1, 2, 3])), First(), toy.Join()], tmp_path, keep="results"
    )
    plan = made.plan()
    use, ran = DiskUse(plan), []
    for item in plan.to_run():
        use.started(item)
        use.ended(item)
        ran.append((item.stage.name, use.used >= BIG))
    readers = [held for name, held in ran if name == First().name]
    assert readers == [True, True, False]


def options(**more) -> RunOptions:
    return RunOptions(**({"jobs": 1, "memory": 10**9, "executor": "inline"} | more))


def test_all_of_it_stays_where_all_is_kept(tmp_path):
    plan = pipeline(tmp_path, "all").plan()
    assert peak_disk(plan, 1) == least_disk(plan) == sum(item.bytes for item in plan.to_run())


def test_the_order_decides_how_much_there_is_at_once(tmp_path):
    plan = pipeline(tmp_path).plan()
    assert least_disk(plan) < BIG + 5 * SMALL
    order = within(plan, 1, 2 * BIG)
    assert peak_disk(plan, 1, order) < BIG + 5 * SMALL
    assert peak_disk(plan, 2, order) < 2 * BIG + 5 * SMALL
    assert expected_peak(plan, options(jobs=2), 2 * BIG + 5 * SMALL) < 2 * BIG + 5 * SMALL


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_stays_under_its_limit(tmp_path, jobs):
    limit = int(1.9 * BIG)
    made = pipeline(tmp_path)
    there: list[int] = []

    def watch(event) -> None:
        if isinstance(event, ItemStarted):
            fans = made.state_folder.glob("fan/*/text.txt")
            there.append(sum(1 for path in fans if not path.parent.name.startswith(".")))

    made.add_listener(watch)
    assert made.construct(options(jobs=jobs, disk=limit)).result.status == "done"
    assert max(there) == 1
    assert list(made.state_folder.glob("fan/*/text.txt")) == []


def test_what_cannot_be_is_refused_before_it_starts(tmp_path):
    made = pipeline(tmp_path)
    with pytest.raises(CacheError) as caught:
        made.construct(options(disk=BIG // 2))
    assert str(caught.value) == (
        f"{tmp_path}: the run takes at least 1 MB of disk at its peak, and --disk allows 500 kB\n"
        "  give --disk 1050K or more, or set `keep: bundle` in the recipe, which deletes all else once it is used"
    )
    assert list(made.cache.entries()) == []
    require_within_limit(made.plan(), options(disk=2 * BIG), made.state_folder)


def test_what_failed_takes_nothing(tmp_path):
    plan = pipeline(tmp_path).plan()
    use, (first, *_) = DiskUse(plan), plan.to_run()
    use.started(first)
    use.failed(first)
    assert use.used == 0
