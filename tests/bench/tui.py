"""The measurable criteria of the terminal interface, from the real program on a real terminal.

    python tests/bench/tui.py [A1 A5 …] [--seconds 20] [--folder DIR] [--json FILE]

Real compiles are those of a random two-layer model with Qualcomm's compiler; what takes hours is played from paper.
Without criteria all are measured, and the programs that users have open beside it in the same run. CPU is user and
system time of the process that shows the screen as a share of one core; with the default session the engine is in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

SUPPORT = Path(__file__).parents[1] / "support"
sys.path.insert(0, str(SUPPORT))

import tui_loads  # noqa: E402 - they need the folder above
import tui_looks  # noqa: E402
import tui_others  # noqa: E402
import tui_survival  # noqa: E402
import tui_times  # noqa: E402
from tui_measure import Bench, as_line  # noqa: E402

CRITERIA: dict[str, Callable[[Bench], None]] = {
    "A1": tui_times.first_frame,
    "A2": tui_times.long_run,
    "A3": tui_times.keys,
    "A4": tui_times.keys_beside_onnx,
    "A5": tui_loads.cost,
    "A8": tui_loads.many_rows,
    "A9": tui_loads.log_storm,
    "items": tui_loads.many_items,
    "A10": tui_survival.drops,
    "A11": tui_survival.killed_host,
    "A13": tui_looks.sizes,
    "A14": tui_looks.colours,
    "A24": tui_times.cursor,
    "soak": tui_loads.soak,
    "others": tui_others.compare,
}
TOGETHER = {"A6": "A5", "A7": "A5"}
"""Measured with another."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("criteria", nargs="*", metavar="CRITERION", help=" ".join([*CRITERIA, *TOGETHER]))
    parser.add_argument("--seconds", type=float, default=20.0, help="how long each load is watched")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder when left out")
    parser.add_argument("--json", type=Path, help="keep the table here too")
    given = parser.parse_args()
    chosen = dict.fromkeys(TOGETHER.get(name, name) for name in given.criteria or CRITERIA)
    if unknown := [name for name in chosen if name not in CRITERIA]:
        parser.error(f"no such criterion: {', '.join(unknown)}")
    os.environ["PYTHONPATH"] = str(SUPPORT)
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        bench = Bench(given.folder or Path(temporary), given.seconds)
        bench.folder.mkdir(parents=True, exist_ok=True)
        for name in chosen:
            try:
                CRITERIA[name](bench)
            except AssertionError as error:  # what was waited for did not come
                bench.add(name, "could not be measured", "", str(error).splitlines()[0][:46], False)
                print(error, file=sys.stderr)
    failing = [row for row in bench.rows if row.holds is False]
    print("\nWhat does not hold:" if failing else "\nAll of it holds.")
    for row in failing:
        print(as_line(row))
    if given.json:
        given.json.write_text(json.dumps([asdict(row) for row in bench.rows], indent=1) + "\n")
    return 1 if failing else 0


if __name__ == "__main__":
    sys.exit(main())
