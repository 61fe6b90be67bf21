"""A report's facts, from what runs, `verify` and `evaluate` leave."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import recorded_runs as recorded
import yaml
from sample_report import full_report

from qairt import keys
from qairt.engine.cache.cache import StageCache
from qairt.engine.cache.entry import NewEntry
from qairt.engine.record import events as ev
from qairt.engine.record.folder import run_folders
from qairt.engine.record.state import RunState
from qairt.errors import CacheError
from qairt.evaluate.record import EvaluationRecord, MetricRecord, add_record
from qairt.report.gather import gather
from qairt.report.render import to_html, to_markdown
from qairt.report.timeline import POINTS, timeline_of
from qairt.verify.result import LayerCost, OutputFidelity, RungFidelity

STAGES = ("quantization", "export", "quantize", "export_bundle")


def entry(stage: str, label: str = "all", cached: bool = False) -> ev.PlannedEntry:
    return ev.PlannedEntry(
        stage=stage,
        label=label,
        key=keys.digest([stage, label]),
        cached=cached,
        reason="not built yet",
        seconds=1.0,
        from_history=False,
    )


ITEMS = [
    entry("quantization"),
    entry("export"),
    entry("quantize", "ar1"),
    entry("quantize", "ar8"),
    entry("export_bundle"),
]


def store(cache: StageCache, stage: str, label: str, key: str, files: dict[str, bytes], **more: Any) -> None:
    with cache.making(stage, key) as work:
        for name, content in files.items():
            (work / name).parent.mkdir(exist_ok=True)
            (work / name).write_bytes(content)
        cache.publish(work, NewEntry(key, stage, label, **more))


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    """A finished run of five items whose results are all there."""
    events: list[ev.Event] = [recorded.opening(ITEMS, recipe="/home/ada/llama.yaml")]
    for number, item in enumerate(ITEMS):
        events += recorded.made(item, recorded.BEGAN + 10 * number, 9.0)
    events.append(recorded.closing("done", recorded.BEGAN + 50))
    recipe = (
        "model_id_or_path: /models/llama\nstages: {quantization: {}, export: {}, quantize: {}, export_bundle: {}}\n"
    )
    folder = recorded.record(tmp_path / "pipeline_state", "0001", events, recipe=recipe)
    settings = {"model_id_or_path": "/models/llama", "verify": {"min_sqnr_db": {"quantize": 20.0}}}
    folder.write("resolved.json", {"settings": settings, "stages": {name: {} for name in STAGES}})
    found = StageCache(tmp_path)
    weights = b"w" * 8000
    store(found, "quantization", "all", ITEMS[0].key, {"model.encodings": b"{}"})
    store(
        found,
        "export",
        "all",
        ITEMS[1].key,
        {"model.onnx": b"o" * 100, "weights.bin": b"f" * 32_000, "output.json": b"{}"},
    )
    for number, name in ((2, "ar1"), (3, "ar8")):
        files = {f"{name}.dlc": name.encode() * 2000, f"{name}.onnx": name.encode(), "weights.bin": weights}
        store(found, "quantize", name, ITEMS[number].key, files)
    store(
        found,
        "export_bundle",
        "all",
        ITEMS[4].key,
        {"bundle/SHA256SUMS": b"sums", "bundle/a.bin": weights, "metadata.yaml": b""},
    )
    return found


def measured(
    cache: StageCache,
    rung: str,
    db: float,
    sources: list[ev.PlannedEntry],
    adapted: Mapping[str, Any] | None = None,
    **asked: Any,
) -> None:
    """What `verify` stores of a rung."""
    outputs = (OutputFidelity(part=1, ar=1, way="isolated", output="logits", tokens=8, sqnr_db=db, max_error=0.1),)
    layers = (
        LayerCost(name="layer 0", sqnr_db=9.0, kl=0.1, top1=0.9),
        LayerCost(name="layer 1", sqnr_db=8.0, kl=0.4, top1=0.8),
    )
    found = RungFidelity(
        rung=rung,
        concurrency=str(adapted["name"]) if adapted else "",
        tokens=8,
        seconds=1.0,
        outputs=outputs,
        layers=layers if rung == "quantize" and not adapted else (),
    )
    inputs = {
        "stage": "verify",
        "config": {"rung": rung, "part": None, **asked},
        "extras": {
            "sources": {f"{item.stage} {item.label}": item.key for item in sources},
            **({"adapters": [dict(adapted), "digest of the text"]} if adapted else {}),
        },
    }
    store(
        cache,
        "verify",
        rung,
        keys.digest([inputs, db]),
        {"fidelity.json": found.model_dump_json().encode()},
        inputs=inputs,
    )


def evaluated(
    cache: StageCache,
    target: str,
    score: float,
    *,
    artifacts: dict[str, str],
    digest: str = "text",
    concurrency: str = "base",
    adapters: str = "",
) -> None:
    record = EvaluationRecord(
        target=target,
        concurrency=concurrency,
        adapters=adapters,
        metrics={
            "perplexity": MetricRecord(
                metric="perplexity",
                score=score,
                higher_is_better=False,
                dataset="/data/dev.txt",
                dataset_digest=digest,
                chunks=4,
            )
        },
        context_length=32,
        model="/models/llama",
        model_digest="m",
        recipe={},
        recipe_digest="r",
        artifacts=artifacts,
        toolchain="t",
        versions={},
        time=time.time(),
        seconds=1.0,
    )
    add_record(cache.cache_dir, record)


def test_equal_contents_count_once(cache):
    report = gather(cache, "llama.yaml")
    assert [(size.what, size.files, size.bytes) for size in report.sizes] == [
        ("float graph (ONNX)", 2, 32_100),
        ("quantized graphs (ONNX)", 4, 8_006),
        ("quantized graphs (DLC)", 2, 12_000),
        ("device bundle", 3, 8_004),
    ]
    assert [stage.size for stage in report.stages] == [2, 32_102, 20_006, 8_004]


def test_what_the_chip_could_do_belongs_to_a_run_with_the_same_settings(cache):
    found = full_report().at_most
    ran = yaml.safe_load((run_folders(cache.cache_dir)[0].path / "recipe.yaml").read_text())
    assert gather(cache, "llama.yaml", ran, at_most=found).at_most == found
    assert gather(cache, "llama.yaml", {**ran, "backend": "other"}, at_most=found).at_most is None


def test_the_bundle(cache):
    report = gather(cache, "llama.yaml")
    assert [(file.name, file.bytes) for file in report.bundle] == [("a.bin", 8000), ("SHA256SUMS", 4)]
    assert report.bundle[0].sha256 == cache.entry(ITEMS[4].key).files["bundle/a.bin"]["sha256"]


def test_missing_measurements_are_named(cache):
    assert gather(cache, "llama.yaml").missing == [
        "The stages were not compared with the float model: qairt verify llama.yaml",
        "The quality of the quantized model was not measured: qairt evaluate llama.yaml",
    ]


def test_fidelity_of_exactly_this_run(cache):
    of_run = [ITEMS[0], ITEMS[2], ITEMS[3]]
    measured(cache, "export", 118.0, ITEMS[:2])
    measured(cache, "quantize", 50.0, of_run)
    measured(cache, "quantize", 12.0, of_run)  # measured again: the latest counts
    measured(cache, "quantize", 99.0, [entry("quantization", "other")])  # of something else
    measured(cache, "split_model", 99.0, of_run, part=2)  # one part alone
    fidelity = gather(cache, "llama.yaml").fidelity
    assert [(part.rung, part.isolated_db, part.needed_db) for part in fidelity.parts] == [
        ("export", 118.0, 60.0),
        ("quantize", 12.0, 20.0),
    ]
    assert fidelity.first_below == fidelity.parts[1]
    assert [layer.name for layer in fidelity.layers] == ["layer 1", "layer 0"]


def test_scores_of_exactly_this_run_and_of_the_float_model(cache):
    graphs = {"quantize": keys.digest(sorted([ITEMS[2].key, ITEMS[3].key]))}
    evaluated(cache, "torch", 10.0, artifacts={})
    evaluated(cache, "torch", 99.0, artifacts={}, digest="another text")
    evaluated(cache, "cpu", 77.0, artifacts={"quantize": "of another run"})
    evaluated(cache, "cpu", 11.5, artifacts=graphs)
    evaluated(cache, "quantsim", 11.0, artifacts={"quantization": keys.digest([ITEMS[0].key])})
    report = gather(cache, "llama.yaml")
    (score,) = report.scores
    assert (score.float_score, score.scores, score.text) == (
        10.0,
        {"cpu": 11.5, "quantsim": 11.0},
        "4 chunks of dev.txt",
    )
    assert not any("evaluate" in line for line in report.missing)


def test_scores_by_concurrency_of_lora_adapters_the_base_first(cache):
    """On the same text they are different models: each is compared with the float model that has its adapters."""
    graphs = {"quantize": keys.digest(sorted([ITEMS[2].key, ITEMS[3].key]))}
    for concurrency, loss in (("french", 1.0), ("base", 3.0), ("both", 2.0)):
        evaluated(cache, "torch", 10.0 + loss, artifacts={}, concurrency=concurrency)
        evaluated(cache, "cpu", 20.0 + loss, artifacts=graphs, concurrency=concurrency)
    scores = gather(cache, "llama.yaml").scores
    assert [(score.title, score.float_score, score.scores["cpu"]) for score in scores] == [
        ("perplexity", 13.0, 23.0),
        ("perplexity, french", 11.0, 21.0),
        ("perplexity, both", 12.0, 22.0),
    ]


ADAPTED = {
    each: {"name": "french", "adapters": [{"name": "french", "digest": each, "strength": 1.0}]}
    for each in ("before", "retrained")
}


def with_retrained_adapter(cache: StageCache) -> None:
    """Another run, of the same graphs, that wrote only the values of a retrained adapter."""
    item = entry("lora_adapters", "concurrency1")
    inputs = {"stage": item.stage, "extras": {"params": ADAPTED["retrained"]}}
    store(cache, item.stage, item.label, item.key, {"values.safetensors": b"v"}, inputs=inputs)
    events: list[ev.Event] = [recorded.opening([*ITEMS, item], run_id="0002")]
    for each in (*ITEMS, item):
        events += recorded.made(each, recorded.BEGAN, 9.0)
    recorded.record(cache.cache_dir, "0002", [*events, recorded.closing("done", recorded.BEGAN + 50)])


def test_scores_of_earlier_adapters_are_not_those_of_a_run_with_retrained_ones(cache):
    with_retrained_adapter(cache)
    graphs = {"quantize": keys.digest(sorted([ITEMS[2].key, ITEMS[3].key]))}
    for loss, each in enumerate(ADAPTED):
        for target, artifacts in (("torch", {}), ("cpu", graphs)):
            digest = keys.digest(ADAPTED[each])
            evaluated(cache, target, 10.0 + loss, artifacts=artifacts, concurrency="french", adapters=digest)
            evaluated(cache, target, 5.0, artifacts=artifacts, concurrency="removed from the recipe", adapters="other")
        scores = gather(cache, "llama.yaml").scores
        expected = [("perplexity, french", 11.0, {"cpu": 11.0})] if each == "retrained" else []
        assert [(score.title, score.float_score, score.scores) for score in scores] == expected


def test_fidelity_by_concurrency_of_the_adapters_that_were_built(cache):
    of_run = [ITEMS[0], ITEMS[2], ITEMS[3]]
    measured(cache, "quantize", 40.0, of_run)
    measured(cache, "quantize", 30.0, of_run, ADAPTED["retrained"], concurrency="french")
    measured(cache, "quantize", 10.0, of_run, ADAPTED["before"], concurrency="french")
    for has_values in (False, True):  # without: the latest result counts
        if has_values:
            with_retrained_adapter(cache)
        fidelity = gather(cache, "llama.yaml").fidelity
        found = [(part.name, part.isolated_db) for part in fidelity.parts]
        assert found == [("quantize", 40.0), ("quantize with french", 30.0 if has_values else 10.0)]
        assert [layer.name for layer in fidelity.layers] == ["layer 1", "layer 0"]
    report = gather(cache, "llama.yaml")
    assert 'class="name">quantize with french</th>' in to_html(report, Path("/cache"))
    assert "\n| quantize with french | 1 | 30.0 | – |" in to_markdown(report)


def test_a_float_score_alone_is_better_than_none(cache):
    evaluated(cache, "torch", 10.0, artifacts={})
    (score,) = gather(cache, "llama.yaml").scores
    assert (score.float_score, score.scores) == (10.0, {})


def test_damaged_files_cost_only_their_content(cache):
    of_run = [ITEMS[0], ITEMS[2], ITEMS[3]]
    measured(cache, "quantize", 50.0, of_run)
    (place,) = (cache.cache_dir / "verify").glob("verify_*")
    (place / "fidelity.json").write_text("{")
    (cache.cache_dir / "metrics.json").write_text("[")
    folder = cache.cache_dir / "runs" / "0001"
    (folder / "recipe.yaml").write_text("a: [")
    (folder / "resolved.json").write_text("7")
    with (folder / "events.jsonl").open("a") as file:
        file.write("no event\n")
    report = gather(cache, "llama.yaml")
    assert report.fidelity is None
    assert report.recipe_digest == ""
    assert "1 record of the run's events could not be read and is left out." in report.notes
    assert place.exists()


def test_a_running_run(cache):
    events = [
        recorded.opening([entry("export")], run_id="0002"),
        recorded.made(entry("export"), recorded.BEGAN, 1.0)[0],
    ]
    folder = recorded.record(cache.cache_dir, "0002", events)
    with folder.held("", (), detached=False):
        report = gather(cache, "llama.yaml")
    assert report.run.state == "running"
    assert report.missing[0] == (
        "Run 0002 is still running: 1 item of 1 not built yet. The report shows its state when it was written."
    )
    assert [lane.status for lane in report.timeline.lanes] == ["running"]


def test_before_a_run(tmp_path):
    with pytest.raises(CacheError, match="no run was started here yet"):
        gather(StageCache(tmp_path), "llama.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_events_is_skipped(cache):
    (cache.cache_dir / "runs" / "0002").mkdir()
    assert gather(cache, "llama.yaml").run.id == "0001"


def test_samples_of_a_long_run_are_downsampled_and_keep_their_peaks():
    state = RunState()
    item = entry("export")
    for event in [recorded.opening([item]), *recorded.made(item, recorded.BEGAN, 7200.0)]:
        state.apply(event)
    samples = [
        ev.ResourceSample(time=recorded.BEGAN + second, ram=9 * 10**9 if second == 4321 else 10**9, cpu_percent=50.0,
                          gpu_memory=second, gpu_memory_total=80 * 10**9)
        for second in range(7200)
    ]  # fmt: skip
    timeline = timeline_of(state, samples, is_earlier=False)
    assert len(timeline.moments) <= POINTS
    assert max(moment.ram for moment in timeline.moments) == 9 * 10**9
    assert timeline.moments[-1].gpu_memory == 7199
    assert timeline.gpu_total == 80 * 10**9
    assert timeline.seconds == 7200.0


def test_a_retried_item_is_shown_from_its_last_start():
    state = RunState()
    item = entry("export")
    again = recorded.BEGAN + 100
    for event in [
        recorded.opening([item]),
        *recorded.failed(item, recorded.BEGAN, "no room"),
        ev.ItemWaiting(time=again, stage="export", label="all"),
        *recorded.made(item, again, 5.0),
    ]:
        state.apply(event)
    (lane,) = timeline_of(state, [], is_earlier=False).lanes
    assert (lane.start, lane.end, lane.status) == (100.0, 105.0, "done")
