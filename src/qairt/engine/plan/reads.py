"""What an item reads: which earlier outputs, and the digests of their files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qairt.engine.cache.entry import files_digest

if TYPE_CHECKING:
    from qairt.engine.cache.entry import Entry
    from qairt.engine.plan.planned import PlannedItem
    from qairt.engine.stage import AnyStage


def read_by(stage: AnyStage, source: PlannedItem) -> Iterator[tuple[PlannedItem, set[str]]]:
    """The items that a stage reads from `source` on upstream, with the fields of its input type that each gives."""
    missing = set(stage.fields_read())
    level = [source]
    while level and missing:
        for item in level:
            names = missing & set(item.stage.output_type.model_fields)
            missing -= names
            missing = missing.difference(*(stage.read_instead.get(name, ()) for name in names))
            if names:
                yield item, names
        level = [above for item in level for above in item.sources]


def items_read(item: PlannedItem) -> list[PlannedItem]:
    """Everything that an item reads, each once."""
    return list({id(read): read for source in item.sources for read, _ in read_by(item.stage, source)}.values())


def files_read(item: PlannedItem) -> dict[str, str] | None:
    """The digests of the files of the items that it reads, by item; None while one of them is not made.

    Only items whose keys its own contains, directly or not, are among them: of the others, the facets in its key say
    what it depends on.
    """
    chained = _chained(item)
    found: dict[str, str] = {}
    for read in items_read(item):
        if id(read) not in chained:
            continue
        files = read.record.files if read.record is not None else read.stored.files if read.stored else None
        if files is None:
            return None
        found[read.name] = files_digest(files)
    return found


def replaced_source(item: PlannedItem, entry: Entry) -> PlannedItem | None:
    """An item whose present result is not the one that an entry of `item` was made from; None if there is none.

    A result that replaces one that was released stands for it. Of an item that is outdated itself the result will be
    another; of any other without a result nothing is known yet.
    """
    if entry.read is None:
        return None
    chained = _chained(item)
    for read in items_read(item):
        was, record = entry.read.get(read.name), read.record
        if was is None or id(read) not in chained:
            continue
        if read.outdated if record is None else was not in (files_digest(record.files), *record.stands_for):
            return read
    return None


def is_outdated(item: PlannedItem) -> bool:
    """Whether it has a result that was made from one that has been replaced."""
    return item.entry is not None and replaced_source(item, item.entry) is not None


def stands_for(item: PlannedItem) -> tuple[str, ...]:
    """`Entry.stands_for` of a new result: empty, unless the item was released and is made from the same again."""
    before = item.released
    if before is None or replaced_source(item, before) is not None:
        return ()
    return (*before.stands_for, files_digest(before.files))


def _chained(item: PlannedItem) -> set[int]:
    found: set[int] = set()
    todo = list(item.chained)
    while todo:
        source = todo.pop()
        if id(source) not in found:
            found.add(id(source))
            todo += source.chained
    return found
