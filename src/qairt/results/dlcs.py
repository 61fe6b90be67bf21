"""`qairt export --layout dlc`: the DLC of every part, for the programs of the QAIRT SDK.

float/        before quantization, for `qairt-quantizer`; made now where no run needed them
quantized/    as they went into the context binaries
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qairt.engine.stage import StageOutput
from qairt.errors import RecipeError
from qairt.files import copy_file
from qairt.results.new_folder import new_folder, require_new
from qairt.results.workfolder import placed

if TYPE_CHECKING:
    from qairt.results.finished import FinishedRun

_FOLDERS = {"convert": ("float", "float_dlc"), "quantize": ("quantized", "dlc")}
"""By stage: where its DLCs go, and the field of its output."""


def export_dlcs(run: FinishedRun, directory: Path) -> list[Path]:
    """Copy every DLC of a finished run into a new folder; returns the copies.

    Raises:
        CacheError: an item is not built yet; names it.
        QairtError: `directory` is not empty, or cannot be written.
        RecipeError: the recipe makes none.
    """
    require_new(directory)
    if run.settings.backend == "CPU":
        raise RecipeError(
            "with backend CPU there are no DLCs", where=run.recipe.where("backend"), remedy="set backend: HTP"
        )
    stages = {planned.stage.name for planned in run.plan.stages} & _FOLDERS.keys()
    found = [
        placed(run.output(item, StageOutput), field, Path(folder))
        for stage, (folder, field) in _FOLDERS.items()
        if stage in stages
        for item in run.items(stage)
    ]
    with new_folder(directory) as work:
        for target, source in found:
            (work / target).parent.mkdir(exist_ok=True)
            copy_file(source, work / target)
    return sorted(directory.absolute() / target for target, _ in found)
