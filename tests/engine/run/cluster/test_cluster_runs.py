"""Runs whose items are made by workers of a Dask cluster, which share nothing but a store with the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import wait
from dask_cluster import SUPPORT, Watched, machines, open_toy, options_for, results

from qairt.engine.record import events as ev
from qairt.engine.record.sentences import format_event
from qairt.engine.run.options import RunOptions
from qairt.errors import QairtError, RecipeError
from qairt.machine import this_host

pytestmark = pytest.mark.usefixtures("store")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with machines(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def run_in_thread(pipeline, options: RunOptions) -> threading.Thread:
    thread = threading.Thread(target=pipeline.construct, args=(options,), daemon=True)
    thread.start()
    return thread


def test_workers_make_the_items_and_the_run_has_them(tmp_path, running, expected):
    pipeline = open_toy(tmp_path)
    watched = Watched(pipeline)
    result = pipeline.construct(options_for(running)).result
    assert result.status == "done"
    assert results(pipeline) == expected
    assert {event.host for event in watched.of(ev.ItemStarted)} == {this_host()}
    assert "half way" in [event.message for event in watched.of(ev.ItemProgress)]
    first = watched.of(ev.ItemStarted)[0]
    assert format_event(first)[0].startswith(f"source all: started on {this_host()}; ")
    log = Path(next(event.log for event in watched.of(ev.ItemStarted) if event.label == "ar2"))
    assert log.read_text().splitlines() == ["making ar 2", "50% half way"]
    finished = watched.of(ev.ItemFinished)
    assert all(event.peak_rss > 0 for event in finished)
    jobs = [folder / "dask-scratch-space" / "qairt" / "jobs" for folder in running.folder.glob("w[01]")]
    assert [list(folder.iterdir()) for folder in jobs] == [[], []]


def test_an_item_that_reads_the_users_file_is_made_here(tmp_path, running):
    text = tmp_path / "own.txt"
    text.write_text("of this machine")
    pipeline = open_toy(tmp_path)
    pipeline = type(pipeline).from_recipe(tmp_path / "toy.yaml", overrides=[f"stages.source.file={text}"])
    watched = Watched(pipeline)
    assert pipeline.construct(options_for(running)).result.status == "done"
    assert {event.stage: event.host for event in watched.of(ev.ItemStarted)} == {
        "source": "",
        "fan": this_host(),
        "upper": this_host(),
        "join": this_host(),
    }


def test_an_item_that_fails_there_fails_here_with_its_log(tmp_path, running):
    pipeline = open_toy(tmp_path, fan="fail_at: 2")
    result = pipeline.construct(options_for(running)).result
    assert result.status == "failed"
    (failed,) = result.failed
    assert (failed.stage, failed.label) == ("fan", "ar2")
    assert f"on {this_host()}: this node is not supported" in str(failed)
    assert failed.remedy == "leave it out"
    assert "making ar 2" in failed.log_tail


def test_a_process_that_dies_there_is_one_failed_item(tmp_path, running):
    result = open_toy(tmp_path, fan="die_at: 3").construct(options_for(running)).result
    (failed,) = result.failed
    assert failed.signal == signal.SIGSEGV
    assert "about to die" in failed.log_tail


def test_cancelling_ends_the_child_there(tmp_path, running):
    (held := tmp_path / "held").touch()
    pipeline = open_toy(tmp_path, fan=f"hold_while: {held}")
    watched = Watched(pipeline)
    thread = run_in_thread(pipeline, options_for(running))
    wait.until(lambda: len([e for e in watched.of(ev.ItemProgress) if e.message == "half way"]) == 2)
    wait.until(lambda: watched.of(ev.ItemUsage))  # what it takes there is seen here while it runs
    assert watched.of(ev.ItemUsage)[0].stage == "fan"
    assert watched.of(ev.ItemUsage)[0].peak_rss > 10e6
    pipeline.stop.set()
    thread.join(60)
    assert watched.of(ev.RunFinished)[0].status == "interrupted"
    wait.until(lambda: not _makers(running), 5)


def test_when_the_run_is_killed_its_items_end(tmp_path, running, store):
    (held := tmp_path / "held").touch()
    open_toy(tmp_path, fan=f"hold_while: {held}")
    program = (
        "import sys; from pathlib import Path; from dask_cluster import open_toy; from qairt.llm import LLMPipeline\n"
        "from qairt.engine.run.options import RunOptions\n"
        f"open_toy(Path({str(tmp_path / 'other')!r})); p = LLMPipeline.from_recipe({str(tmp_path / 'toy.yaml')!r})\n"
        f"p.construct(RunOptions(jobs=2, memory=10**9, executor='dask', scheduler={running.address!r}))\n"
    )
    run = subprocess.Popen([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(SUPPORT)})
    wait.until(lambda: len(_makers(running)) >= 2)
    run.kill()
    run.wait(20)
    wait.until(lambda: not _makers(running), 40)


@pytest.mark.parametrize("damage", ["lost", "other bytes"])
def test_contents_that_the_store_does_not_have_any_more_are_sent_again(tmp_path, running, store, expected, damage):
    pipeline = open_toy(tmp_path)
    watched = Watched(pipeline)

    def spoil(event: ev.Event) -> None:
        if isinstance(event, ev.ItemFinished) and event.stage == "fan" and event.label != "ar2":
            for content in (store / "cas").glob("*/*"):
                if damage == "lost":
                    content.unlink()
                else:
                    content.chmod(0o644)
                    content.write_bytes(b"?" * content.stat().st_size)

    pipeline.add_listener(spoil)
    result = pipeline.construct(options_for(running)).result
    assert result.status == "done", result.failed
    assert results(pipeline) == expected
    assert not watched.of(ev.ItemFailedEvent)


@pytest.mark.parametrize(
    ("store_setting", "says"),
    [("off", "none that can be written is set"), ("{{url: 'file:{}', mode: read}}", "none that can be written is set")],
)
def test_without_a_store_that_takes_results_nothing_starts(tmp_path, running, store, monkeypatch, store_setting, says):
    monkeypatch.setenv("QAIRT_STORE", store_setting.format(store))
    with pytest.raises(RecipeError, match=says):
        open_toy(tmp_path).construct(options_for(running))


def test_without_a_scheduler_nothing_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("qairt.engine.run.cluster.cluster._ANSWER_S", 1.0)
    with pytest.raises(QairtError, match="no Dask scheduler answers"):
        open_toy(tmp_path).construct(RunOptions(executor="dask", scheduler="tcp://127.0.0.1:9"))


def _makers(running) -> list[psutil.Process]:
    """The processes that make items: they are below the workers' fork servers."""
    found = []
    for name, worker in running.workers.items():
        for process in running.children(name):
            with suppress(psutil.Error):
                if process.ppid() != worker.pid and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
    return found
