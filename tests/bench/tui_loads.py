"""What the screen costs: A5 and A6 and A7, A8, A9, and a plan of 4,044 items."""

from __future__ import annotations

from pathlib import Path

import psutil
import yaml
from heavy_stages import WORDS, write_heavy_recipe
from terminal import cpu_seconds
from tiny_recipe import write_recipe
from tui_measure import HEAVY, QAIRT, Bench, Load, app_of, is_going, is_shown, key_latencies, load, p95, spread
from tui_times import compiled, newest, recipe_of
from wait import pass_time

SIZES = {(80, 24): (6.0, 10.0), (120, 36): (6.0, 25.0), (200, 50): (12.0, 60.0)}
"""CPU in percent and kB a second that are allowed while a run goes."""
MOST_RSS = 80e6


def cost(bench: Bench) -> None:
    """A5, A6, A7: idle, attached to a simulated run, and with a real compile whose engine is in the program."""
    idle(bench)
    for size, (cpu, sent) in SIZES.items():
        cache = bench.new_folder()
        with (
            bench.playing(cache, recipe_of(bench), "--minutes", "30", "--speed", "10"),
            bench.open(*QAIRT, "attach", "--cache-dir", str(cache), size=size) as terminal,
        ):
            terminal.wait_for(is_shown)
            pass_time(2)
            _add(bench, load(terminal, bench.seconds), f"attached, {size[0]}x{size[1]}", cpu, sent)
        cache = bench.new_folder()
        with bench.open(
            *QAIRT, "tui", str(recipe_of(bench)), "--run", "--cache-dir", str(cache), size=size
        ) as terminal:
            terminal.wait_for(is_shown)
            run = newest(cache)
            pass_time(2)
            found = load(terminal, bench.seconds, going=is_going(run))
            _add(bench, found, f"real compile, {size[0]}x{size[1]}", cpu, sent)
            if size == (120, 36):
                parent = psutil.Process(terminal.process.pid).memory_info().rss
                own = app_of(terminal).memory_full_info()
                measured = f"app {own.pss / 1e6:.0f} MB PSS; its parent {parent / 1e6:.0f} MB RSS"
                bench.add("A7", "memory, what of it is shared taken once", "", measured, None)


def idle(bench: Bench) -> None:
    """Nothing runs: the plan, and a run that is over."""
    words = (str(recipe_of(bench)), "--cache-dir", str(compiled(bench)))
    for what, more in (("plan", ()), ("a run that is over", ("--attach", newest(compiled(bench)).id))):
        with bench.open(*QAIRT, "tui", *words, *more) as terminal:
            terminal.wait_for("export_bundle")
            pass_time(2)
            _add(bench, load(terminal, bench.seconds), f"idle, {what}, 120x36", 1.5, 2.0)


def _add(bench: Bench, found: Load, what: str, cpu: float, sent: float) -> None:
    bench.add("A5", f"CPU, {what}", f"<= {cpu:g} %", f"{found.cpu:.1f} %", found.cpu <= cpu)
    bench.add("A6", f"bytes, {what}", f"<= {sent:g} kB/s", f"{found.bytes / 1e3:.1f} kB/s", found.bytes <= 1000 * sent)
    bench.add("A7", f"RSS, {what}", "<= 80 MB", f"{found.rss / 1e6:.0f} MB", found.rss <= MOST_RSS)


def soak(bench: Bench) -> None:
    """Ten minutes of a run, ten times as fast: what the screen keeps of them."""
    cache = bench.new_folder()
    with (
        bench.playing(cache, recipe_of(bench), "--minutes", "10", "--speed", "10"),
        bench.open(*QAIRT, "attach", "--cache-dir", str(cache)) as terminal,
    ):
        terminal.wait_for(is_shown)
        pass_time(5)
        app = app_of(terminal)
        before = app.memory_info().rss
        terminal.reach_stages("40/40 items", 120)
        grown = app.memory_info().rss - before
    bench.add("soak", "10 simulated minutes: RSS grows", "<= 5 MB", f"{grown / 1e6:.1f} MB", grown <= 5e6)


def many_rows(bench: Bench) -> None:
    """A8: 300 rows, of which 20 items change four times a second."""
    cache = bench.new_folder()
    words = ("--splits", "8", "--contexts", "30", "--jobs", "20", "--minutes", "600", "--progress", "0.25")
    with (
        bench.playing(cache, recipe_of(bench), *words, "--cached", "convert"),
        bench.open(*QAIRT, "attach", "--cache-dir", str(cache)) as terminal,
    ):
        terminal.wait_for(is_shown)
        pass_time(3)
        found = load(terminal, bench.seconds)
    measured = f"{found.cpu:.1f} %, {found.bytes / 1e3:.1f} kB/s, {found.rss / 1e6:.0f} MB"
    holds = found.cpu <= 4 and found.bytes <= 20e3
    bench.add("A8", "300 rows, 20 items change at 4 Hz, whole monitor", "<= 4 %, <= 20 kB/s", measured, holds)


def many_items(bench: Bench) -> None:
    """4,044 items (40 parts, 5 ARs, 5 CLs): CPU seconds until they are planned and the run has begun; cancelling."""
    recipe = _large_recipe(bench)
    with bench.open(*QAIRT, "tui", str(recipe), "--cache-dir", str(bench.new_folder())) as terminal:
        terminal.wait_for("4,044 items", 60)  # from now on everything is compiled, and in the page cache
    with bench.open(*QAIRT, "tui", str(recipe), "--cache-dir", str(bench.new_folder())) as terminal:
        terminal.wait_for("4,044 items", 60)
        app = app_of(terminal)
        planned = cpu_seconds(app)
        bench.add("items", "4,044 items: CPU until the plan is shown", "<= 1.5 s", f"{planned:.2f} s", planned <= 1.5)
        terminal.send("\r")
        terminal.wait_for(lambda text: "running" in text and "model_loading" in text, 60)
        began = cpu_seconds(app) - planned
        bench.add("items", "4,044 items: CPU until the run has begun", "<= 3 s", f"{began:.2f} s", began <= 3)
        before = cpu_seconds(app)
        for _ in range(120):
            terminal.send("j")
            pass_time(1 / 60)
        terminal.settle(0.1, 5.0)
        rows = (cpu_seconds(app) - before) / 120
        measured = f"{1000 * rows:.1f} ms of CPU a row"
        bench.add("items", "4,044 items: scrolling 60 rows a second", "<= 16 ms a row", measured, rows <= 1 / 60)
        terminal.send("X")
        terminal.wait_for("Cancel run")
        before = cpu_seconds(app)
        pressed = terminal.send("0001\r")
        waited = terminal.wait_for("interrupted", 60, since=pressed)
        measured = f"{cpu_seconds(app) - before:.2f} s, {waited:.2f} s by the clock"
        bench.add("items", "4,044 items: CPU until cancelled", "<= 1 s", measured, cpu_seconds(app) - before <= 1)


def _large_recipe(bench: Bench) -> Path:
    path = bench.folder / "large" / "recipe.yaml"
    write_recipe(path.parent, num_hidden_layers=40, max_position_embeddings=512)
    recipe = yaml.safe_load(path.read_text())
    recipe["stages"] |= {
        "prepare_exports": {"arn": [1, 8, 16, 32, 64], "context_length": [128, 160, 192, 224, 256]},
        "split_model": {"num_splits": 40},
    }
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def log_storm(bench: Bench) -> None:
    """A9: an item prints 2,000 lines a second."""
    seconds = 60.0
    recipe = write_heavy_recipe(bench.new_folder(), "log_storm", seconds=seconds, items=1)
    with bench.open(*HEAVY, "tui", str(recipe), "--run") as terminal:
        terminal.wait_for(WORDS, 30)
        run = newest(recipe.parent / "cache")
        pass_time(1)
        on_monitor = load(terminal, seconds / 3)
        terminal.send("L")
        terminal.wait_for(lambda text: "log_storm ar1 · running" in text)
        found = key_latencies(terminal, "f", [_is_left, _is_followed], 60)
        on_log = load(terminal, seconds, going=is_going(run))
        terminal.wait_for("done", 30)
        last = f"{WORDS} {int(2000 * seconds) - 1}"
        terminal.wait_for(last)
    lines = (run.logs / "log_storm.ar1.log").read_text().splitlines()
    numbers = [int(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(WORDS)]
    lost = int(2000 * seconds) - len(numbers) if numbers == sorted(set(numbers)) else -1
    for what, cost_of in (("monitor", on_monitor), ("log screen", on_log)):
        measured = f"{cost_of.cpu:.1f} %, {cost_of.bytes / 1e3:.0f} kB/s, {cost_of.rss / 1e6:.0f} MB"
        bench.add("A9", f"2,000 lines/s, {what}: CPU", "<= 25 %", measured, cost_of.cpu <= 25)
    bench.add("A9", "2,000 lines/s, log screen: key to paint", "p95 <= 100 ms", spread(found), p95(found) <= 0.1)
    bench.add("A9", "lines of the file that are missing", "0", f"{lost} of {len(numbers)}", lost == 0)


def _is_left(text: str) -> bool:
    """Whether the log screen stopped following."""
    return " lines" not in text.split("\n")[0]


def _is_followed(text: str) -> bool:
    return " lines" in text.split("\n")[0]
