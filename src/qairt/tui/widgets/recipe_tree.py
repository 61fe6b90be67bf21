"""Pane 1: the recipe's values as a tree."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual.binding import BindingType
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from qairt.engine.settings_in_force import RecipeValue
from qairt.recipe.source import KeyPath
from qairt.tui.keymap import bindings
from qairt.tui.lines.matrix import plain
from qairt.tui.terminal.glyphs import Look

_UNREAD = "the recipe cannot be read"
_ASCII_LINES = dict.fromkeys(("default", "bold", "double"), ("  ", "| ", "`-", "+-"))
_LONGEST = 60


class RecipeTree(Tree[RecipeValue], inherit_bindings=False):
    """Settings and stages with their values, and the origin of each.

    Values that differ from the last run are marked with a letter and a style, as are the groups that contain them.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("list"), *bindings("tree")]
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"recipe-tree--{role}" for role in ("differs", "origin", "value", "set")}
    DEFAULT_CSS = """
    RecipeTree { background: $background; padding: 0; scrollbar-size: 1 1; overflow-x: hidden; }
    RecipeTree > .recipe-tree--differs { color: $state-stale; text-style: bold; }
    RecipeTree > .recipe-tree--origin { color: $text-muted; }
    RecipeTree > .recipe-tree--value { color: $text-muted; }
    RecipeTree > .recipe-tree--set { color: $foreground; }
    RecipeTree > .tree--cursor { color: $foreground; background: $surface; text-style: none; }
    RecipeTree:focus > .tree--cursor { color: $foreground; background: $background; text-style: reverse; }
    RecipeTree > .tree--highlight, RecipeTree > .tree--highlight-line { text-style: none; background: $background; }
    """

    def __init__(self, look: Look | None = None, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(Text("recipe"), id=id, classes=classes)
        self.show_root = False
        self.guide_depth = 2
        self.auto_expand = False
        self._look = look or Look()
        self._values: RecipeValue | None = None
        self._filter = ""
        self._opened: dict[KeyPath, bool] = {}
        """Groups that the user expanded or collapsed."""
        self._set_characters()

    @property
    def look(self) -> Look:
        return self._look

    @look.setter
    def look(self, look: Look) -> None:
        self._look = look
        self._set_characters()
        self._refill()

    @property
    def filter(self) -> str:
        """Text that the path or value of shown settings contains."""
        return self._filter

    @filter.setter
    def filter(self, text: str) -> None:
        if text != self._filter:
            self._filter = text
            self._refill()

    @property
    def selected(self) -> RecipeValue | None:
        """The value under the cursor."""
        return self.cursor_node.data if self.cursor_node is not None else None

    @property
    def copy_text(self) -> str:
        """What `y` copies: `key=value` for the command line."""
        return self.selected.assignment if self.selected is not None else ""

    def show(self, values: RecipeValue | None) -> None:
        """Show these values; None while the recipe cannot be read. Only changed lines are updated."""
        before, self._values = self._values, values
        if values == before and self.root.children:
            return
        if values is not None and before is not None and _shape(values) == _shape(before):
            found = {value.path: value for value in values.walk()}
            for node in _nodes(self.root):
                value = found[node.data.path] if node.data is not None else None
                if value is not None and value != node.data:
                    node.data = value
                    node.set_label(self._label(value))
            return
        self._refill()

    def action_open_node(self) -> None:
        """Expand the group under the cursor."""
        if self.cursor_node is not None and self.cursor_node.allow_expand:
            self.cursor_node.expand()

    def action_shut_node(self) -> None:
        """Collapse the group under the cursor, or go to its parent."""
        node = self.cursor_node
        if node is None:
            return
        if node.allow_expand and node.is_expanded:
            node.collapse()
        elif node.parent is not None and node.parent is not self.root:
            self.move_cursor(node.parent)

    def action_scroll_top(self) -> None:
        self.cursor_line = 0

    def action_scroll_bottom(self) -> None:
        self.cursor_line = self.last_line

    def on_tree_node_collapsed(self, event: Tree.NodeCollapsed[RecipeValue]) -> None:
        if event.node.data is not None:
            self._opened[event.node.data.path] = False

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[RecipeValue]) -> None:
        if event.node.data is not None:
            self._opened[event.node.data.path] = True

    def render_label(self, node: TreeNode[RecipeValue], base_style: Style, style: Style) -> Text:
        """The line of one value, styled by the theme."""
        value = node.data
        if value is None:
            return super().render_label(node, base_style, style)
        icon = (self.ICON_NODE_EXPANDED if node.is_expanded else self.ICON_NODE) if node.allow_expand else ""
        mark, name, text, where = self._parts(value)
        differs = self._role("differs") if value.differs else Style()
        role = self._role("value" if value.source in ("default", "preset") else "set")
        line = Text(no_wrap=True, end="")
        line.append(icon, base_style + style)
        line.append(mark, style + differs)
        line.append(name, style + differs)
        line.append(text, style + (differs if value.differs else role))
        line.append(where, style + self._role("origin"))
        return self._cut(line, node)

    # Inside

    def _cut(self, line: Text, node: TreeNode[RecipeValue]) -> Text:
        """The line in the room right of its guides; an ellipsis marks a cut."""
        depth = 0
        while node.parent is not None and node.parent is not self.root:
            node, depth = node.parent, depth + 1
        room = self.scrollable_content_region.width - depth * self.guide_depth
        dots = self._look.text("…")
        if room > len(dots) and line.cell_len > room:  # no room at all before the first layout
            line.truncate(room - len(dots))
            line.append(dots)
        return line

    def _parts(self, value: RecipeValue) -> tuple[str, str, str, str]:
        mark = f"{self._look.mark('stale')} " if value.differs else ""
        shown = plain(value.text)
        shown = shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…"
        if value.before and value.differs:
            shown = f"{shown} (was {plain(value.before)[:_LONGEST]})"
        text = f" {shown}" if shown else ""
        where = f"  {_short(value)}" if not value.children or value.text else ""
        return mark, plain(value.key), self._look.text(text), self._look.text(where)

    def _label(self, value: RecipeValue) -> Text:
        return Text("".join(self._parts(value)))

    def _role(self, role: str) -> Style:
        style = self.get_component_rich_style(f"recipe-tree--{role}")
        return Style(color=style.color, bold=style.bold or None)

    def _refill(self) -> None:
        selected = self.selected.path if self.selected is not None else None
        self.root.remove_children()
        if self._values is None:
            self.root.add_leaf(_UNREAD)
            self.root.expand()
            return
        for value in self._values.children:
            self._add(self.root, value, inside=False)
        self.root.expand()
        nodes = [node for node in _nodes(self.root) if node.data is not None]
        again = next((node for node in nodes if node.data is not None and node.data.path == selected), None)
        self.call_after_refresh(self.move_cursor, again or (nodes[0] if nodes else None))

    def _add(self, node: TreeNode[RecipeValue], value: RecipeValue, *, inside: bool) -> None:
        inside = inside or self._matches(value)
        if not inside and not any(self._matches(each) for each in value.walk()):
            return
        shown = [each for each in value.children if self._filter or not _is_untouched_output(each)]
        if not shown:
            node.add_leaf(self._label(value), value)
            return
        opened = bool(self._filter) or self._opened.get(value.path, _is_open_at_first(value))
        group = node.add(self._label(value), value, expand=opened)
        for child in shown:
            self._add(group, child, inside=inside)

    def _matches(self, value: RecipeValue) -> bool:
        return self._filter.casefold() in f"{'.'.join(value.path)} {value.text}".casefold()

    def _set_characters(self) -> None:
        ascii_only = self._look.ascii
        self.ICON_NODE = "> " if ascii_only else Tree.ICON_NODE
        self.ICON_NODE_EXPANDED = "v " if ascii_only else Tree.ICON_NODE_EXPANDED
        self.LINES = _ASCII_LINES if ascii_only else Tree.LINES


def _is_open_at_first(value: RecipeValue) -> bool:
    """False for technique files, and for groups outside the stages that contain only defaults."""
    if value.source == "preset" or value.text:
        return False
    is_set = any(not each.children and (each.source != "default" or each.differs) for each in value.walk())
    return is_set or len(value.path) > 1


def _is_untouched_output(value: RecipeValue) -> bool:
    """Output settings of a stage that are all defaults: the same for every stage, and shown only when filtering."""
    if value.path[:1] != ("stages",) or value.path[2:] != ("output",):
        return False
    return not any(
        not each.children and (each.source not in ("default", "preset") or each.differs) for each in value.walk()
    )


def _short(value: RecipeValue) -> str:
    """The origin in a short form: `:14` for a line of the recipe, `lpbq.yaml:4` for another file."""
    file, _, line = value.where.rpartition(":")
    if value.source == "file":
        return f":{line}"
    return f"{Path(file).name}:{line}" if value.source == "preset" else value.where


def _shape(values: RecipeValue) -> list[KeyPath]:
    return [value.path for value in values.walk()]


def _nodes(node: TreeNode[RecipeValue]) -> list[TreeNode[RecipeValue]]:
    found = [node]
    for child in node.children:
        found += _nodes(child)
    return found
