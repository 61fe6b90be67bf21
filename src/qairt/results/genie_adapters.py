"""The LoRA concurrencies of a finished run as Genie on this machine reads them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qairt.results.concurrency import require_concurrency, stored_branches
from qairt.results.finished import FinishedRun

if TYPE_CHECKING:
    from qairt.bundle.genie_config import GenieLora


@dataclass(frozen=True)
class GenieAdapters:
    """Every concurrency of a run; nothing is written before a dialog needs it."""

    run: FinishedRun
    first: str
    """The concurrency that a dialog begins with."""

    @contextmanager
    def written(self) -> Iterator[GenieLora]:
        """Their values in files that exist while inside.

        Raises:
            ModelError: an adapter cannot be read, or the graphs were built for other ranks or modules.
        """
        import numpy as np

        from qairt.bundle.adapter_files import branch_inputs, write_genie_values
        from qairt.bundle.genie_config import GenieLora
        from qairt.runtime.stored import to_stored

        found = require_concurrency(self.run, self.first)
        assert found is not None
        names = dict.fromkeys((*found.names, self.first))
        if found.shape.is_switched:
            yield GenieLora(strengths={name: found.all_strengths(name) for name in names})
            return
        parts = self.run.quantized_parts
        inputs = branch_inputs(part.signature for part in parts[min(parts)])
        with tempfile.TemporaryDirectory(prefix="qairt-lora-") as folder:
            folders = {name: str(Path(folder) / name) for name in names}
            for name, path in folders.items():
                values = stored_branches(self.run, name)
                for each, spec in inputs.items():
                    values.setdefault(each, to_stored(np.zeros(spec.shape, np.float32), spec))
                write_genie_values(Path(path), values, inputs)
            yield GenieLora(folders)
