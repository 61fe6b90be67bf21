"""How long the screen lets its user wait: A1, A2, A3, A4, A24."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from heavy_stages import write_heavy_recipe
from simulated_runs import write_run
from tiny_recipe import write_recipe
from tui_measure import (
    HEAVY,
    QAIRT,
    Bench,
    Starts,
    app_of,
    cursor_latencies,
    hogs,
    is_going,
    is_shown,
    p95,
    spread,
    until,
)

from qairt.engine.record.folder import RunFolder, run_folders

LAST_STAGE = "export_bundle"
TIMES = 7


def recipe_of(bench: Bench) -> Path:
    """The two-layer model's."""
    path = bench.folder / "tiny" / "recipe.yaml"
    return path if path.exists() else write_recipe(path.parent)


def compiled(bench: Bench) -> Path:
    """A cache in which it is all made, by the screen itself."""
    cache = bench.folder / "compiled"
    if not cache.exists():
        with bench.open(*QAIRT, "run", str(recipe_of(bench)), "--no-tui", "--cache-dir", str(cache)) as terminal:
            assert terminal.wait(180) == 0, terminal.text()
    return cache


def newest(cache: Path) -> RunFolder:
    """The last run in a cache directory; waits until there is one."""
    until(lambda: run_folders(cache / "pipeline_state"))
    return run_folders(cache / "pipeline_state")[-1]


def first_frame(bench: Bench) -> None:
    """A1: from the command to the first frame with every stage on it."""
    cache = compiled(bench)
    words = ("--cache-dir", str(cache))
    plan, monitor = Starts(), Starts()
    with bench.open(*QAIRT, "tui", str(recipe_of(bench)), *words) as terminal:
        terminal.wait_for(LAST_STAGE)  # from now on everything is compiled, and in the page cache
    for _ in range(TIMES):
        opened = bench.open(*QAIRT, "tui", str(recipe_of(bench)), *words)
        plan.time(opened, lambda text: LAST_STAGE in text and "25 cached" in text)
        opened = bench.open(*QAIRT, "tui", str(recipe_of(bench)), *words, "--attach", newest(cache).id)
        monitor.time(opened, lambda text: "2 Stages" in text and "convert " in text)
    for what, starts in (("the plan", plan), ("the matrix of a run", monitor)):
        bench.add("A1", f"first frame, {what}, median of {TIMES}", "<= 800 ms", str(starts), starts.median <= 0.8)


def long_run(bench: Bench) -> None:
    """A2: a run of six hours and 25,000 events, until its right state is shown."""
    cache = bench.new_folder()
    run = write_run(cache, "long", recipe=recipe_of(bench))
    events = run.events.read_bytes().count(b"\n")
    starts = Starts()
    for _ in range(TIMES):
        starts.time(bench.open(*QAIRT, "attach", run.id, "--cache-dir", str(cache)), _is_whole)
    what = f"attach to {events} events, until 40/40 is shown"
    bench.add("A2", what, "<= 1000 ms", str(starts), starts.median <= 1.0)


def _is_whole(text: str) -> bool:
    """The end of the six hours is shown."""
    return "40/40 items" in text and "done 0" in text


def keys(bench: Bench) -> None:
    """A3: a cursor key until the selection is at its new place."""
    cache = bench.new_folder()
    words = ("--minutes", "30", "--speed", "10")
    with (
        bench.playing(cache, recipe_of(bench), *words),
        bench.open(*QAIRT, "attach", "--cache-dir", str(cache)) as terminal,
    ):
        terminal.wait_for(is_shown)
        found = cursor_latencies(terminal, "jk" * 60)
    bench.add("A3", "key to paint, live updates", "p95 <= 50 ms", spread(found), p95(found) <= 0.05)
    for count in (0, 2):
        cache, found = bench.new_folder(), []
        with ExitStack() as stack:
            stack.enter_context(hogs(count))
            terminal = stack.enter_context(
                bench.open(*QAIRT, "tui", str(recipe_of(bench)), "--run", "--cache-dir", str(cache))
            )
            terminal.wait_for(is_shown)
            run = newest(cache)
            found = cursor_latencies(terminal, "jk" * 200, going=is_going(run))
        what = "a real compile" + (f" and {count} CPU hogs" if count else "")
        bench.add("A3", f"key to paint, {what}", "p95 <= 100 ms", spread(found), p95(found) <= 0.1)


def keys_beside_onnx(bench: Bench) -> None:
    """A4: the same while items load, infer and serialize an ONNX model of 436 MB."""
    recipe = write_heavy_recipe(bench.new_folder(), "onnx_load", seconds=40, items=2)
    with bench.open(*HEAVY, "tui", str(recipe), "--run", "--jobs", "1") as terminal:
        terminal.wait_for("loaded 4", 60)
        run = newest(recipe.parent / "cache")
        found = cursor_latencies(terminal, "jk" * 60, going=is_going(run))
    holds = p95(found) <= 0.1 and max(found) <= 0.3
    bench.add("A4", "key to paint, an item loads 436 MB of ONNX", "p95 <= 100, max <= 300", spread(found), holds)


def cursor(bench: Bench) -> None:
    """A24: the cursor in a matrix of 24 columns, live."""
    for size in ((120, 36), (80, 24)):
        cache = bench.new_folder()
        words = ("--splits", "24", "--minutes", "600", "--progress", "0.5", "--cached", "convert")
        with (
            bench.playing(cache, recipe_of(bench), *words),
            bench.open(*QAIRT, "attach", "--cache-dir", str(cache), size=size) as terminal,
        ):
            terminal.wait_for(is_shown)
            terminal.send("gG")
            terminal.settle(0.1, 1.0)
            terminal.send("kkk")
            terminal.settle(0.1, 1.0)
            found = cursor_latencies(terminal, ("l" * 20 + "kkjj" + "h" * 20 + "kkjj") * 2, pause=(0.05, 0.2))
            resident = app_of(terminal).memory_info().rss
        what = f"cursor and scrolling, 24 splits, live, {size[0]}x{size[1]} ({resident / 1e6:.0f} MB)"
        bench.add("A24", what, "p95 <= 50 ms", spread(found), p95(found) <= 0.05)
