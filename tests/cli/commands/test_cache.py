"""`qairt cache`: listing, clearing, verifying, pruning, explaining."""

from __future__ import annotations

import os
import re

import pytest

INLINE = ("--executor", "inline")
HERE = ("--cache-dir", "cache")


@pytest.fixture
def finished(qairt):
    """A finished run."""
    assert qairt("run", "toy.yaml", *INLINE).code == 0


def entries(qairt, *words: str) -> list[str]:
    return [
        f"{entry['stage']} {entry['label']}"
        for entry in qairt("cache", "list", *words, *HERE, "--json").data["entries"]
    ]


ALL = ["source all", "fan ar1", "fan ar2", "upper ar2", "join all"]


def test_list(qairt, finished):
    said = qairt("cache", "list", *HERE)
    lines = said.out.splitlines()
    assert lines[0].split() == ["stage", "item", "on", "disk", "alone", "took", "age", "key"]
    assert [" ".join(line.split()[:2]) for line in lines[1:6]] == ALL
    assert lines[-1].startswith("5 entries, ")
    assert lines[-1].endswith(" on disk in cache")
    assert entries(qairt, "fan") == ["fan ar1", "fan ar2"]


def test_the_cache_is_found_by_recipe_or_when_it_is_the_only_one(qairt, finished, place):
    assert qairt("cache", "list", "toy.yaml").out.endswith("on disk in " + str(place / "cache") + "\n")
    assert qairt("cache", "list").err == (
        "Error: there is no cache directory in qairt-cache/\n  name one with RECIPE or --cache-dir\n"
    )
    for name in ("a", "b"):
        qairt("run", "toy.yaml", "--until", "source", "--cache-dir", f"qairt-cache/{name}", *INLINE)
        if name == "a":
            assert "1 entry" in qairt("cache", "list").out
    said = qairt("cache", "list")
    assert said.code == 2
    assert said.err.startswith("Error: there are several cache directories in qairt-cache/: a, b\n")


def test_the_first_word_is_a_recipe_or_else_a_stage(qairt, finished):
    def listed(*words: str) -> list[str]:
        return [entry["label"] for entry in qairt("cache", "list", *words, "--json").data["entries"]]

    assert listed("toy.yaml", "fan") == listed("fan", *HERE) == listed("fan", "-r", "toy.yaml") == ["ar1", "ar2"]
    assert listed("toy.yaml", "fan", "ar1") == listed("fan", "ar1", "--recipe", "toy.yaml") == ["ar1"]
    said = qairt("cache", "list", "fan", "ar1", "ar2", *HERE)
    assert (said.code, said.err) == (2, "Error: fan is not a recipe\n  give RECIPE STAGE ITEM, or STAGE ITEM\n")
    said = qairt("cache", "list", "gone.yaml", "fan")
    assert said.err.startswith("Error: gone.yaml: there is no such recipe\n")


@pytest.mark.parametrize("verb", ["undo", "verify", "prune", "why", "show", "clear"])
def test_every_command_takes_a_recipe(qairt, finished, verb):
    words = ["--yes"] if verb in ("prune", "clear") else []
    assert qairt("cache", verb, "toy.yaml", *words).code == qairt("cache", verb, "-r", "toy.yaml", *words).code == 0


def test_a_directory_without_runs(qairt):
    said = qairt("cache", "list", "--cache-dir", "nowhere")
    assert (said.code, said.err) == (
        2, "Error: nowhere: nothing has run in this cache directory\n  qairt run RECIPE\n"
    )  # fmt: skip


def test_show(qairt, finished):
    said = qairt("cache", "show", "fan", "ar1", *HERE)
    assert said.out.startswith("fan ar1  31 B on disk, 31 B alone, took ")
    assert "    text.txt  7 B\n" in said.out
    assert '  stages.fan.suffix: ""\n' in said.out
    (entry,) = qairt("cache", "show", "fan", "ar1", *HERE, "--json").data
    assert entry["inputs"]["config"]["suffix"] == ""
    assert set(entry["files"]) == {"text.txt", "output.json"}


@pytest.mark.parametrize(
    ("words", "err"),
    [
        (["fen"], "Error: cache: nothing of a stage fen is cached\n  did you mean fan?\n"),
        (["zzz"], "Error: cache: nothing of a stage zzz is cached\n  cached stages: source, fan, upper, join\n"),
        (["fan", "ar9"], "Error: cache: nothing of fan ar9 is cached\n  cached: ar1, ar2\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_not_there(qairt, finished, words, err):
    for command in ("list", "show", "clear"):
        said = qairt("cache", command, *words, *HERE)
        assert (said.code, said.err) == (2, err)


def test_clear_asks_and_without_a_terminal_refuses(qairt, finished):
    said = qairt("cache", "clear", "fan", *HERE)
    assert said.code == 2
    assert said.err.startswith("Error: not confirmed: Clear 2 entries: frees 62 B at the next prune, ")
    assert said.err.endswith(" to rebuild?\n  give --yes: there is no terminal to confirm on\n")
    assert entries(qairt) == ALL


@pytest.mark.parametrize(("answer", "left"), [(True, 3), (False, 5)])
def test_clear_on_a_terminal_follows_the_answer(qairt, finished, monkeypatch, answer, left):
    asked = []
    monkeypatch.setattr("qairt.cli.confirm.is_interactive", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda question: asked.append(question) or answer)
    assert qairt("cache", "clear", "fan", *HERE).code == 0
    assert asked[0].startswith("Clear 2 entries: frees 62 B at the next prune, ")
    assert len(entries(qairt)) == left


def test_a_cleared_stage_is_rebuilt_and_later_stages_still_hit(qairt, finished, place):
    said = qairt("cache", "clear", "fan", "--yes", *HERE)
    assert said.out.startswith("Cleared 2 entries: frees 62 B at the next prune, ")
    from qairt.engine.cache.manifest import PipelineManifest

    assert list(PipelineManifest(place / "cache").read()["stages"]) == ["source", "upper", "join"]
    assert qairt("plan", "toy.yaml", "--json").data["to_run"] == 2


def test_clear_one_item_with_everything_after_it(qairt, finished):
    qairt("cache", "clear", "fan", "ar2", "--after", "--yes", *HERE)
    assert entries(qairt) == ["source all", "fan ar1"]


def test_clear_a_stage_with_everything_after_it_or_all(qairt, finished):
    qairt("run", "toy.yaml", "stages.fan.suffix=x", *INLINE)
    assert len(entries(qairt)) == 9
    qairt("cache", "clear", "upper", "--after", "--yes", *HERE)
    assert entries(qairt) == ["source all", "fan ar1", "fan ar1", "fan ar2", "fan ar2"]
    data = qairt("cache", "clear", "--yes", "--json", *HERE).data
    assert [entry["stage"] for entry in data["cleared"]] == ["source", "fan", "fan", "fan", "fan"]
    assert qairt("cache", "clear", "--yes", *HERE).out == "Nothing to clear.\n"


def test_verify_reads_every_byte(qairt, finished, place):
    said = qairt("cache", "verify", *HERE)
    assert (said.code, said.out) == (0, "5 intact entries, 165 B read\n")
    (entry,) = place.glob("cache/pipeline_state/upper/upper_*")
    (entry / "text.txt").write_text("HELLO 3")
    said = qairt("cache", "verify", *HERE)
    assert said.code == 1
    assert said.out == (
        "damaged: upper ar2: text.txt has different content\n"
        "4 intact entries, 165 B read\n"
        "1 set aside; the next run rebuilds them\n"
    )
    assert qairt("plan", "toy.yaml", "--json").data["to_run"] == 1


def test_prune_removes_leftovers_and_what_the_recipe_does_not_use(qairt, finished, place):
    making = place / "cache/pipeline_state/fan/.making-12345678-x"
    making.mkdir()
    (making / "half.bin").write_bytes(bytes(10_000))
    said = qairt("cache", "prune", *HERE)
    assert said.out == "Deleted 1 leftover, freed 10 kB.\n"
    assert not making.exists()
    qairt("run", "toy.yaml", "stages.fan.suffix=x", *INLINE)
    said = qairt("cache", "prune", "--unused", *HERE)
    assert said.err == "Error: --unused needs a recipe to compare with\n  qairt cache prune RECIPE --unused\n"
    data = qairt("cache", "prune", "toy.yaml", "--unused", "--yes", "--json").data
    assert sorted(entry["stage"] for entry in data["cleared"]) == ["fan", "fan", "join", "upper"]
    assert entries(qairt) == ALL
    assert qairt("plan", "toy.yaml", "--json").data["to_run"] == 0


def test_what_was_cleared_comes_back_until_it_is_pruned(qairt, finished, place):
    manifest = place / "cache/pipeline_state/manifest.json"
    before = manifest.read_bytes()
    said = qairt("cache", "clear", "fan", "--yes", *HERE)
    assert said.out.splitlines()[1] == (
        "`qairt cache undo` (z on the full screen) brings it back until `qairt cache prune` frees the disk."
    )
    assert manifest.read_bytes() != before
    assert qairt("cache", "undo", *HERE).out == "Restored 2 entries.\n"
    assert manifest.read_bytes() == before
    assert entries(qairt) == ALL
    assert qairt("plan", "toy.yaml", "--json").data["to_run"] == 0
    assert qairt("cache", "undo", *HERE).out == "Nothing to restore.\n"
    qairt("cache", "clear", "upper", "--yes", *HERE)
    assert qairt("cache", "prune", *HERE).out.startswith("Deleted 0 leftovers and 1 cleared entry, freed ")
    assert qairt("cache", "undo", "--json", *HERE).data == {"restored": [], "superseded": []}


def test_undo_keeps_what_a_run_built_since(qairt, finished):
    qairt("cache", "clear", "fan", "--yes", *HERE)
    qairt("run", "toy.yaml", *INLINE)
    said = qairt("cache", "undo", *HERE)
    assert said.code == 1
    assert said.err.endswith(
        "fan ar1, fan ar2 cannot be restored: rebuilt since then, and the new entries are kept\n"
        "  undo again to restore what was cleared before\n"
    )
    assert qairt("plan", "toy.yaml", "--json").data["to_run"] == 0


def test_clear_refuses_what_is_being_built(qairt, finished, place):
    from filelock import FileLock

    (entry,) = qairt("cache", "show", "upper", *HERE, "--json").data
    with FileLock(place / f"cache/pipeline_state/locks/{entry['key'][:16]}.lock"):
        said = qairt("cache", "clear", "upper", "--yes", *HERE)
    assert (said.code, said.err) == (
        1,
        "Error: cache: nothing was cleared: upper ar2 is being built by a run\n"
        "  wait for that run to end, or cancel it\n",
    )
    assert entries(qairt) == ALL


def test_why(qairt, finished, place):
    assert qairt("cache", "why", "fan", *HERE).out == (
        "stage  item  why it runs\nfan    ar1   cached, will be reused\nfan    ar2   cached, will be reused\n"
    )
    text = (place / "toy.yaml").read_text().replace("arn: [1, 2]", "arn: [1, 2], suffix: x")
    (place / "toy.yaml").write_text(text)
    said = qairt("cache", "why", "toy.yaml", "upper", "ar2")
    assert said.out.splitlines()[1] == "upper  ar2   fan ar2 changed: stages.fan.suffix  → x"
    (item,) = qairt("cache", "why", "toy.yaml", "upper", "--json").data
    assert (item["cached"], item["reason"]) == (False, "fan ar2 changed: stages.fan.suffix  → x")
    assert qairt("cache", "why", "upper", "ar7", *HERE).err == "Error: upper has no item ar7\n  its items: ar2\n"
    assert qairt("cache", "why", "uper", *HERE).err == (
        "Error: there is no stage uper in this recipe\n  did you mean upper?\n"
    )


def test_without_a_recipe_errors_name_the_one_that_ran(qairt, place, monkeypatch):
    (place / "sub").mkdir()
    (place / "toy.yaml").rename(place / "sub" / "toy.yaml")
    recipe = os.path.abspath("sub/toy.yaml")
    assert qairt("run", recipe, *INLINE, *HERE).code == 0
    from qairt.cli.find_store import open_for

    assert open_for(None, place / "cache").recipe.source == place / "sub" / "toy.yaml"


def test_what_other_entries_hold_too_is_not_freed(qairt, place):
    (place / "big.txt").write_text("x" * 100_000)
    qairt("run", "toy.yaml", "stages.source.file=big.txt", "--until", "source", *INLINE)
    qairt("run", "toy.yaml", "stages.source.file=big.txt", "stages.source.text=y", "--until", "source", *INLINE)
    from qairt.engine.cache.store import Store

    store = Store(place / "cache")
    one, two = store.entries()
    assert store.freed_by([one]) == 24  # its record; the text is the other's too
    assert store.freed_by([one, two]) == 100_048
    store.clear([one])
    assert store.freed_by([two]) == 100_024  # the other goes with the next prune


def test_what_was_cleared_is_said_by_plan_and_why_until_it_is_back(qairt):
    qairt("run", "toy.yaml", "--executor", "inline")
    qairt("cache", "clear", "toy.yaml", "join", "--yes")
    note = r"cleared \d+ s ago · `qairt cache undo` brings it back"
    assert re.search(rf"join\s+all\s+~\d\.\d s\s+{note}\n", qairt("plan", "toy.yaml").out)
    assert re.search(rf"join\s+all\s+{note}\n", qairt("cache", "why", "toy.yaml").out)
    qairt("cache", "undo", "toy.yaml")
    assert "cleared" not in qairt("plan", "toy.yaml").out
    assert "Nothing to run" in qairt("plan", "toy.yaml").out


def test_what_was_let_go_is_shown(qairt, finished, place):
    from qairt.engine.cache.cache import StageCache
    from qairt.engine.cache.releasing import release

    (place / "toy.yaml").write_text((place / "toy.yaml").read_text().replace("text: hello", f"text: {'x' * 5000}"))
    assert qairt("run", "toy.yaml", *INLINE).code == 0
    cache = StageCache(place / "cache")
    entry = next(entry for entry in cache.entries("fan") if entry.label == "ar1" and entry.bytes > 5000)
    assert release(cache, entry) is not None
    shown = [line for line in qairt("cache", "show", "fan", "ar1", *HERE).out.splitlines() if "text.txt" in line]
    assert "    text.txt  5 kB, released: rebuilt when something needs it" in shown
    data = qairt("cache", "list", "fan", "ar1", *HERE, "--json").data["entries"]
    assert ["text.txt"] in [entry["released"] for entry in data]
    (why,) = [line for line in qairt("cache", "why", "toy.yaml", "fan", "ar1").out.splitlines() if "ar1" in line]
    assert why.endswith("cached, will be reused; its large files were released")
