"""What `qairt tui` opens without a recipe: a list of the recipes and runs on this machine."""

from __future__ import annotations

import locale
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from textual.app import App, ComposeResult
from textual.driver import Driver
from textual.widgets import Input, Static
from textual.widgets.option_list import Option
from textual.worker import Worker

from qairt.amounts import count
from qairt.tui.background import BackgroundWork
from qairt.tui.choices import Choice, find_choices
from qairt.tui.keymap import bindings
from qairt.tui.lines.picker import ORDERS, TITLES, heading, in_order, line, matches, name_width
from qairt.tui.look import Appearance, choose_look
from qairt.tui.settings import load_settings
from qairt.tui.terminal.driver import ResilientDriver
from qairt.tui.themes import VARIABLE_DEFAULTS, load_themes, register_all
from qairt.tui.widgets.key_footer import KeyFooter
from qairt.tui.widgets.row_list import RowList

_REFRESH_SECONDS = 3.0


class PickerApp(App[Choice]):
    """Returns what the user chose; None if they left.

    Args:
        find: reads the choices; called again every few seconds.
    """

    TITLE = "qairt"
    BINDINGS = bindings("picker")
    CSS = """
    #head { height: 1; background: $panel; text-style: bold; }
    #columns { height: 1; color: $text-muted; text-style: bold; }
    RowList { height: 1fr; }
    RowList > .option-list--option-disabled { color: $title; text-style: bold; }
    #filter { height: 1; border: none; padding: 0 1; display: none; background: $panel; }
    #filter.-open { display: block; }
    """

    def __init__(
        self,
        appearance: Appearance,
        find: Callable[[], list[Choice]],
        *,
        driver: type[Driver] | None = None,
    ) -> None:
        super().__init__(driver_class=driver, ansi_color=appearance.ansi_color)
        self._appearance = appearance
        self._find = find
        self._background = BackgroundWork(self)  # type: ignore[arg-type]
        self._choices: list[Choice] | None = None
        self._order = ""
        self._shown: dict[str, Choice] = {}
        self._head = Static(id="head", markup=False)
        self._columns = Static(id="columns", markup=False)
        self._list = RowList()
        self._filter = Input(placeholder="filter", id="filter", compact=True)

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return VARIABLE_DEFAULTS

    def compose(self) -> ComposeResult:
        yield self._head
        yield self._columns
        yield self._list
        yield self._filter
        yield KeyFooter()

    def on_mount(self) -> None:
        self.animation_level = "none"
        register_all(self)
        if self._appearance.theme in self.available_themes:
            self.theme = self._appearance.theme
        self._list.focus()
        self._head.update(" qairt  looking for recipes and runs")
        self._read()
        self.set_interval(_REFRESH_SECONDS, self._read)

    def on_resize(self) -> None:
        self._draw()

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        error = self._background.worker_changed(event.worker)
        if error is not None:
            raise error

    # Keys

    def action_open(self) -> None:
        place = self._list.highlighted
        option = self._list.get_option_at_index(place) if place is not None else None
        if option is not None and option.id in self._shown:
            self.exit(self._shown[option.id])

    def on_option_list_option_selected(self) -> None:
        self.action_open()

    def action_sort(self) -> None:
        """Sort by the next column."""
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._draw()

    def action_filter(self) -> None:
        self._filter.add_class("-open")
        self._filter.focus()

    async def action_back(self) -> None:
        """Clear the filter, or leave."""
        if self._filter.value or self._filter.has_class("-open"):
            self._filter.value = ""
            self._filter.remove_class("-open")
            self._list.focus()
        else:
            self.exit(None)

    def action_leave(self) -> None:
        self.exit(None)

    def on_input_changed(self) -> None:
        self._draw()

    def on_input_submitted(self) -> None:
        self._filter.remove_class("-open")
        self._list.focus()

    # Showing

    def _read(self) -> None:
        self._background.run(self._find, self._show)

    def _show(self, choices: list[Choice]) -> None:
        if choices != self._choices:
            self._choices = choices
            self._draw()

    def _draw(self) -> None:
        if self._choices is None or not self.size.width:
            return
        look, now, width = self._appearance.look, time.time(), self.size.width - 1
        text = self._filter.value.strip()
        chosen = in_order([choice for choice in self._choices if matches(choice, text)], self._order, now)
        active, recipes, finished = (sum(each.section == section for each in chosen) for section in TITLES)
        counts = [f"{active} running"] * bool(active) + [count(recipes, "recipe")] * bool(recipes)
        summary = " · ".join(counts + [count(finished, "run")] * bool(finished))
        self._head.update(look.text(f" qairt  {summary or f'nothing matches {text!r}'}"))
        name = name_width(chosen, width)
        self._columns.update(heading(look, width, name, self._order))
        self._fill(chosen, partial(line, now=now, look=look, width=width, name=name))

    def _fill(self, chosen: Sequence[Choice], draw: Callable[[Choice], object]) -> None:
        """Show these choices under their sections; the cursor stays on what it was on."""
        place = self._list.highlighted
        before = self._list.get_option_at_index(place).id if place is not None else None
        self._shown = {
            f"{choice.section} {choice.recipe} {choice.run.path if choice.run else ''}": choice for choice in chosen
        }
        options: list[Option] = []
        for section, title in TITLES.items():
            own = {id: choice for id, choice in self._shown.items() if choice.section == section}
            if own:
                options += [Option("", disabled=True)] if options else []
                options.append(Option(title, disabled=True))
                options += [Option(draw(choice), id=id) for id, choice in own.items()]  # type: ignore[arg-type]
        self._list.clear_options()
        self._list.add_options(options)
        places = [number for number, option in enumerate(options) if option.id is not None]
        same = next((number for number in places if options[number].id == before), None)
        self._list.highlighted = same if same is not None else next(iter(places), None)


def pick(flags: Mapping[str, object]) -> Choice | None:
    """Let the user choose on the full screen; None if they left.

    Args:
        flags: settings given on the command line; None counts as not given.
    """
    settings, _ = load_settings(flags, themes=[theme.name for theme in load_themes()[0]])
    appearance = choose_look(settings, os.environ, locale.getencoding())
    driver = None if "TEXTUAL_DRIVER" in os.environ else ResilientDriver
    app = PickerApp(appearance, partial(find_choices, Path.cwd()), driver=driver)
    return app.run(mouse=settings.mouse == "auto")
