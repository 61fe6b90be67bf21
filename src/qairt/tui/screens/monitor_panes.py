"""The monitor's five panes and where they stand."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container
from textual.widget import Widget

from qairt.tui.screens.monitor_layout import heights, room_for_rows
from qairt.tui.widgets.detail import Detail
from qairt.tui.widgets.log_view import LogView
from qairt.tui.widgets.matrix import StageMatrix
from qairt.tui.widgets.profiler import ProfilerPane
from qairt.tui.widgets.recipe_tree import RecipeTree
from qairt.tui.widgets.run_feed import RunFeed

_TWO_COLUMNS = 120
"""Columns of a window in which the recipe has a place beside the stages."""


class MonitorPanes(Container):
    """The panes side by side, or fewer where the window is small. The stages get the lines they need first."""

    SCOPED_CSS = False
    DEFAULT_CSS = """
    MonitorScreen #body { height: 1fr; layout: vertical; }
    MonitorScreen .pane { border: round $border; border-title-color: $title; padding: 0; }
    MonitorScreen .pane:focus, MonitorScreen .pane:focus-within { border: round $border-focus; }
    MonitorScreen #profiler.pane { border: none; }

    MonitorScreen.-narrow .pane, MonitorScreen.-short .pane { display: none; border: none; }
    MonitorScreen.-narrow #stages, MonitorScreen.-short #stages { display: block; }
    MonitorScreen.-narrow #log, MonitorScreen.-short #log, MonitorScreen.-narrow #feed, MonitorScreen.-short #feed {
        display: block; height: 1fr; min-height: 3; border: none; border-top: solid $border;
    }

    MonitorScreen.-tall.-mid #body {
        layout: grid; grid-size: 2 3; grid-columns: 34 1fr;
    }
    MonitorScreen.-tall.-mid #recipe { row-span: 2; }
    MonitorScreen.no-samples.-tall #profiler.pane { display: none; }
    MonitorScreen.no-samples.-tall.-mid #body { grid-size: 2 2; }
    MonitorScreen.no-samples.-tall.-mid #recipe { row-span: 1; }
    MonitorScreen.no-samples.-tall.-wide #detail { row-span: 2; }
    MonitorScreen.-tall.-mid.one-column #body { grid-size: 1 3; grid-columns: 1fr; }
    MonitorScreen.-tall.-mid.one-column #recipe, MonitorScreen.-tall.-mid.one-column #detail { display: none; }
    MonitorScreen.-tall.-wide #body {
        layout: grid; grid-size: 3 2; grid-columns: 38 1fr 50;
    }
    MonitorScreen.-tall.-wide #recipe { row-span: 2; }
    MonitorScreen.-tall .pane { height: 1fr; width: 1fr; }

    MonitorScreen #body > #feed { display: none; }
    MonitorScreen.no-log #body > #feed { display: block; }
    MonitorScreen.no-log #body > #log { display: none; }
    MonitorScreen.solo #body > #feed { display: none; }
    MonitorScreen.solo.alone #body { layout: vertical; }
    MonitorScreen.solo.alone #recipe, MonitorScreen.solo.alone #stages, MonitorScreen.solo.alone #profiler,
    MonitorScreen.solo.alone #log, MonitorScreen.solo.alone #detail { display: none; }
    MonitorScreen.solo.alone.solo-1 #recipe, MonitorScreen.solo.alone.solo-2 #stages,
    MonitorScreen.solo.alone.solo-3 #profiler, MonitorScreen.solo.alone.solo-4 #body > #log,
    MonitorScreen.solo.alone.solo-5 #detail {
        display: block; height: 1fr; max-height: 100%; width: 1fr;
    }
    MonitorScreen.solo.alone.solo-1 #recipe, MonitorScreen.solo.alone.solo-2 #stages,
    MonitorScreen.solo.alone.solo-5 #detail {
        border: round $border-focus;
    }
    MonitorScreen.solo.alone.solo-3 #profiler { layout: grid; }
    """

    def __init__(
        self,
        recipe: RecipeTree,
        matrix: StageMatrix,
        profiler: ProfilerPane,
        log: LogView,
        detail: Detail,
        feed: RunFeed,
    ) -> None:
        super().__init__(id="body")
        self._matrix = matrix
        self._log = log
        self._detail = detail
        self._feed = feed
        self.panes: tuple[Widget, ...] = (recipe, matrix, profiler, log, detail)
        """In the order of their numbers."""
        self._arranged: tuple[int, int, int, bool, bool] | None = None
        """What they were arranged for."""
        recipe.border_title = "1 Recipe"
        matrix.border_title = "2 Stages"
        detail.border_title = "5 Detail"
        feed.border_title = "4 Run"

    def compose(self) -> ComposeResult:
        recipe, matrix, profiler, log, detail = self.panes
        for pane in (recipe, matrix, profiler, log, self._feed, detail):
            pane.add_class("pane")
            yield pane

    def give_room(self, *, solo: bool, samples: bool) -> None:
        """Give each pane its height.

        Args:
            solo: one pane is shown alone.
            samples: whether the run has any for the graphs, which are left out otherwise.
        """
        width, height = self.size
        if not height:
            return
        screen = self.screen
        screen.set_class(width < _TWO_COLUMNS, "one-column")
        framed = screen.has_class("-tall") and not screen.has_class("-narrow")
        wide = framed and screen.has_class("-wide")
        if not solo:
            self._matrix.room = room_for_rows(height, framed=framed, wide=wide)
        screen.set_class(not samples and not solo, "no-samples")
        wanted = (width, height, self._matrix.wanted_height, solo, samples)
        if wanted == self._arranged:
            return
        self._arranged = wanted
        found = heights(height, self._matrix.wanted_height, framed=framed, wide=wide, graphs=samples)
        if framed or solo:
            self._matrix.styles.clear_rule("height")
        else:
            self._matrix.styles.height = found.stages
        if framed and not solo:
            self.styles.grid_rows = f"{found.stages} {found.graphs} 1fr" if found.graphs else f"{found.stages} 1fr"
            if wide and samples:
                self.move_child(self._detail, after=self._feed)
            else:
                self.move_child(self._log, after=self._detail)
                self.move_child(self._feed, after=self._log)
