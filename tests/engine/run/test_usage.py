"""What a process says that it used."""

from __future__ import annotations

import subprocess
import sys
import time

from qairt.engine.run.usage import Usage, usage_of, usage_so_far


def test_work_shows(tmp_path):
    before = usage_so_far()
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)
    assert len(path.read_bytes()) == 3_000_000
    started = time.process_time()
    while time.process_time() - started < 0.1:
        sum(range(1000))
    used = usage_so_far().since(before)
    assert 0.09 <= used.cpu_seconds < 5
    assert used.bytes_read >= 3_000_000
    assert used.bytes_written >= 3_000_000
    assert used.peak_rss == 0
    assert usage_so_far().peak_rss > 5_000_000


def test_counters_that_go_back_are_not_negative():
    later = Usage(cpu_seconds=1.0, bytes_read=10, bytes_written=5)
    assert Usage().since(later) == Usage()


_PARENT = """
import subprocess, sys
held = bytearray(30_000_000)
child = subprocess.Popen([sys.executable, "-c", "held = bytearray(80_000_000); print(len(held), flush=True); input()"],
                         stdin=subprocess.PIPE)
input()
"""


def test_another_process_is_seen_with_what_it_started():
    parent = subprocess.Popen([sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    try:
        assert parent.stdout.readline() == b"80000000\n"
        seen = usage_of(parent.pid, Usage())
        assert 80_000_000 < seen.peak_rss < 200_000_000  # the largest process, not all of them
        assert seen.cpu_seconds > 0
        assert seen.bytes_read > 0
    finally:
        parent.communicate(b"\n")
    assert usage_of(parent.pid, seen) == seen
