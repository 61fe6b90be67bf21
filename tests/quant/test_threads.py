from __future__ import annotations

import threading

from qairt.quant.threads import one_thread_each


def test_a_gpu_has_one_worker() -> None:
    for device, workers in (("cpu", 3), ("cuda", 1)):
        with one_thread_each(3, device) as pool:
            together = threading.Barrier(workers)

            def meet(_: int, together: threading.Barrier = together) -> int:
                together.wait(60)
                return threading.get_ident()

            assert len(set(pool.map(meet, range(3)))) == workers
