"""`qairt cache push | pull | status`, and what `verify` says of the shared store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qairt.amounts import about, count, size
from qairt.cli import exit_codes
from qairt.cli.console import emit, emit_json
from qairt.errors import CacheError, RecipeError

if TYPE_CHECKING:
    from qairt.engine.cache.entry import Entry
    from qairt.engine.cache.store import Store
    from qairt.engine.shared_store.rivals import Differing
    from qairt.engine.shared_store.shared_store import SharedStore
    from qairt.engine.shared_store.stored import StoredEntry
    from qairt.llm import LLMPipeline


def push_entries(cache: Store, *, as_json: bool) -> None:
    """Add every entry of a cache to the store, and print what came of it.

    Raises:
        RecipeError: no store is set, or it is only read.
        CacheError: the store cannot be used.
    """
    from qairt.engine.cache.cache import StageCache
    from qairt.engine.shared_store.objects import Unavailable
    from qairt.engine.shared_store.of_user import store_of_user
    from qairt.engine.shared_store.uploads import push

    store = _required(store_of_user(cache.state_folder))
    if not store.settings.writes:
        raise RecipeError(
            "this store is only read", where=store.url, remedy=f"set {{url: {store.url}, mode: read-write}}"
        )
    results: dict[str, int] = {}
    stage_cache = StageCache(cache.cache_dir)
    try:
        for entry in _shareable(cache.entries()):
            result = push(store, stage_cache, entry)
            results[result] = results.get(result, 0) + 1
            if result == "stored" and not as_json:
                emit(f"added {entry.stage} {entry.label}, {size(entry.bytes)}")
    except Unavailable as error:
        remedy = "run this again later: what was sent is not sent again"
        raise CacheError(f"the store cannot be used: {error}", where=store.url, remedy=remedy) from error
    if as_json:
        emit_json({"store": store.url, **results})
        return
    added, there, rivals = results.get("stored", 0), results.get("there", 0), results.get("rival", 0)
    emit(f"{count(added, 'entry', 'entries')} added to {store.url}, {there} were there")
    if rivals:
        emit(f"{rivals} differ from what another machine made from the same inputs: `qairt cache verify` names them")
    if left := results.get("unknown sources", 0):
        emit(f"{left} of an earlier version do not say what they were made from, and stay here")


def pull_items(pipeline: LLMPipeline, *, as_json: bool) -> None:
    """Fetch what the store has of a recipe, and print what came of it; exit code 1 if some of it did not come.

    Raises:
        RecipeError: no store is set.
    """
    from qairt.engine.pulling import pull

    store = _required(pipeline.store)
    pulled = pull(pipeline, store, (lambda item: None) if as_json else (lambda item: emit(f"fetched {item.name}")))
    fetched = sum(item.bytes for item in pulled.fetched)
    if as_json:
        emit_json(
            {
                "store": store.url,
                "fetched": [item.name for item in pulled.fetched],
                "bytes": fetched,
                "failed": [item.name for item in pulled.failed],
                "not_stored": [item.name for item in pulled.not_stored],
                "notices": store.notices(),
            }
        )
    else:
        for notice in store.notices():
            emit(notice)
        emit(
            f"{count(len(pulled.fetched), 'item')} fetched, {size(fetched)}; {pulled.here} were here, "
            f"{len(pulled.not_stored) + len(pulled.failed)} are to be built"
        )
    failed = bool(pulled.failed) or store.is_away()
    raise typer.Exit(exit_codes.FAILED if failed else exit_codes.DONE)


def show_status(pipeline: LLMPipeline, *, as_json: bool) -> None:
    """Print what the store is, whether it answers, and what it has of a recipe; exit code 1 if it does not answer.

    Raises:
        RecipeError: no store is set.
    """
    from qairt.engine.cache.store import Store

    store = _required(pipeline.store)
    plan = pipeline.plan()
    problem = _problem(store)
    items = list(plan.items)
    here, fetched = sum(item.cached for item in items), plan.to_fetch()
    entries = _shareable(Store(pipeline.cache_dir).entries()) if pipeline.state_folder.is_dir() else []
    missing = _not_stored(store, entries) if problem is None else []
    to_fetch, seconds = sum(item.bytes for item in fetched), sum(item.seconds for item in fetched)
    if as_json:
        emit_json(
            {
                "store": store.url,
                "mode": store.settings.mode,
                "allow_from": list(store.settings.allow_from),
                "id": store.id,
                "problem": problem,
                "items": len(items),
                "here": here,
                "to_fetch": len(fetched),
                "fetch_bytes": to_fetch,
                "fetch_seconds": round(seconds, 1),
                "not_stored": len(missing),
                "not_stored_bytes": sum(entry.bytes for entry in missing),
                "notices": store.notices(),
            }
        )
    else:
        emit(f"{store.url} ({store.settings.mode}): {problem or 'it answers'}")
        if store.settings.allow_from:
            emit(f"only results of {', '.join(store.settings.allow_from)}")
        emit(
            f"{count(len(items), 'item')}: {here} here, {len(fetched)} in the store ({size(to_fetch)} to fetch, "
            f"~{about(seconds)}), {len(items) - here - len(fetched)} to be built"
        )
        if missing and store.settings.writes:
            left = size(sum(entry.bytes for entry in missing))
            emit(f"{count(len(missing), 'result')} of this cache not in the store yet ({left}): `qairt cache push`")
    raise typer.Exit(exit_codes.DONE if problem is None else exit_codes.FAILED)


def differing_results(state_folder: Path) -> list[str]:
    """A sentence for each result of which the store knows two, or why it was not asked; none without a store."""
    from qairt.engine.shared_store.objects import Unavailable
    from qairt.engine.shared_store.of_user import store_of_user
    from qairt.engine.shared_store.rivals import differing

    store = store_of_user(state_folder)
    if store is None:
        return []
    try:
        found = differing(store)
    except Unavailable as error:
        return [f"the store {store.url} was not checked: {error}"]
    return [_differing_line(each) for each in found]


def _differing_line(found: Differing) -> str:
    used, others = found.used, " and ".join(map(_builder, found.others))
    return (
        f"{used.stage} {used.label} ({used.key[:8]}) has several results in the store, made from the same inputs: "
        f"of {_builder(used)}, which is used, and of {others}"
    )


def _builder(stored: StoredEntry) -> str:
    from qairt.printable import printable

    known = {name: text for name, text in stored.made_by.items() if name in ("qairt", "tools")}
    said = ", ".join(f"{name} {text}" if name == "qairt" else text for name, text in known.items())
    return printable(f"{stored.host} ({stored.timestamp[:16]}{', ' if said else ''}{said})")


def _required(store: SharedStore | None) -> SharedStore:
    if store is not None:
        return store
    from qairt.user_folder import config_folder

    file = config_folder() / "config.yaml"
    raise RecipeError(
        "no shared store is set",
        remedy=f"write `store: s3://bucket/folder` (or gs://, az://, https://, file:/) into {file}, or set QAIRT_STORE",
    )


def _problem(store: SharedStore) -> str | None:
    """Why the store cannot be used; None if it answers."""
    from qairt.engine.shared_store.objects import Unavailable
    from qairt.engine.shared_store.stored import MARKER

    try:
        store.ask(lambda objects: objects.read(MARKER))
    except Unavailable as error:
        return str(error)
    return None


def _shareable(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of stages that are ever reused, with all their files."""
    import qairt.stages  # noqa: F401 - registers them
    from qairt.engine.stage import registered_stages

    stages = registered_stages()
    reused = [entry for entry in entries if entry.stage not in stages or not stages[entry.stage].stateful]
    return [entry for entry in reused if entry.is_whole]


def _not_stored(store: SharedStore, entries: Sequence[Entry]) -> list[Entry]:
    from qairt.engine.shared_store.stored import action_of

    actions = {action_of(entry.key, entry.read): entry for entry in entries if entry.read is not None}
    there = store.present(actions)
    return [entry for action, entry in actions.items() if action not in there]
