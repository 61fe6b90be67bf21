"""A machine's peak is measured, and shares of it are shares."""

from __future__ import annotations

from qairt.stages.float_profile.roofline import Peak, Utilisation, measure_peak

PEAK = Peak(flops_per_s=1e11, copy_bytes_per_s=8e9, read_bytes_per_s=1e10, matrix=1024, buffer_bytes=1 << 28)


def test_shares_of_a_peak():
    found = Utilisation.of(2e10, 5e9, 1.0, PEAK)
    assert (found.flops_share, found.bytes_share) == (0.2, 0.5)
    assert Utilisation.of(2e10, 5e9, 2.0, PEAK).flops_share == 0.1


def test_the_peak_is_what_this_machine_does():
    found = measure_peak(seconds=0.02, buffer_bytes=16 << 20)
    assert found.bytes_per_s == max(found.copy_bytes_per_s, found.read_bytes_per_s)
    assert found.buffer_bytes == 16 << 20
    # No machine that runs this is slower or faster than these by orders of magnitude.
    assert 1e8 < found.flops_per_s < 1e15
    assert 1e8 < found.bytes_per_s < 1e14
