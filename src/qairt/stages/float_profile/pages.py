"""What `torch_profiler` leaves for people: its answers as JSON lines, a page about them, and plots."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from qairt.amounts import count, size
from qairt.recipe.output_settings import ModelVisualization
from qairt.stages.float_profile.memory_trace import MemoryTimeline
from qairt.stages.float_profile.operators import OperatorTable
from qairt.stages.float_profile.record import Profile, PromptProfile, Spread, predictions_of
from qairt.stages.float_profile.roofline import Utilisation
from qairt.stages.pictures import svg
from qairt.stages.predictions import Prediction

if TYPE_CHECKING:
    from qairt.stages.float_profile.workload import ProfiledModel

_TABLES: TypeAdapter[list[OperatorTable]] = TypeAdapter(list[OperatorTable])
_BARS = 12
_BUSY = 0.3
"""Cores kept busy by others that a reader is warned of."""


def read_profile(output: ProfiledModel) -> Profile:
    """What was found."""
    return Profile.model_validate_json(output.profile.read_bytes())


def read_operators(output: ProfiledModel) -> list[OperatorTable]:
    """Its tables of operators, of prefill and of decode; none where torch.profiler was switched off."""
    return _TABLES.validate_json(output.operators.read_bytes()) if output.operators is not None else []


def write_predictions(profile: Profile, directory: Path, *, strip_special_tokens: bool) -> None:
    """`predictions.jsonl`: a line for each prompt."""
    lines = predictions_of(profile, strip_special_tokens=strip_special_tokens)
    text = "".join(line.model_dump_json() + "\n" for line in lines)
    (directory / "predictions.jsonl").write_text(text, encoding="utf-8")


def write_pages(
    output: ProfiledModel, directory: Path, *, strip_special_tokens: bool, settings: ModelVisualization
) -> None:
    """`predictions.md` with the answers and the plots, the plots, `operators.md` and the Chrome trace.

    Args:
        strip_special_tokens: as for the predictions.
        settings: how many plots the page shows, and how wide.
    """
    profile = read_profile(output)
    plots = _plots(output, profile)
    for name, text in plots.items():
        (directory / name).write_text(text, encoding="utf-8")
    for path in (output.operators_markdown, output.trace):
        if path is not None:
            shutil.copyfile(path, directory / path.name)
    predictions = predictions_of(profile, strip_special_tokens=strip_special_tokens)
    left = list(plots)[: settings.max_images]

    def show(name: str) -> str:
        caption = name.removesuffix(".svg").replace("_", " ")
        image = f'<a href="{name}"><img src="{name}" width="{settings.thumbnail_width}" alt="{caption}"></a>\n'
        return image if name in left else ""

    parts = [_summary(profile), "".join(show(name) for name in plots if not name.startswith("prompt_"))]
    for place, (prediction, found) in enumerate(zip(predictions, profile.prompts, strict=True), 1):
        parts.append(_answer(place, prediction, found) + "\n" + show(_prompt_plot(place)))
    if output.operators_markdown is not None:
        parts.append(
            "[The operators in tables](operators.md), and [all of them in time](trace.json.gz), for Perfetto.\n"
        )
    (directory / "predictions.md").write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _plots(output: ProfiledModel, profile: Profile) -> Mapping[str, str]:
    """SVG texts by file name, in the order in which they are worth a look."""
    plots = {"speed.svg": _speed(profile), "roofline.svg": _roofline(profile)}
    for table in read_operators(output):
        plots[f"operators_{table.phase}.svg"] = _operators(table)
    plots["memory.svg"] = _memory(MemoryTimeline.model_validate_json(output.memory.read_bytes()))
    for place, found in enumerate(profile.prompts, 1):
        plots[_prompt_plot(place)] = svg.lines(
            f"Prompt {place}: milliseconds for each token after the first",
            [("token", [(float(token), ms) for token, ms in enumerate(found.token_ms, 1)][1:])],
            x_label=f"token of the answer; the first took {found.token_ms[0]:.1f} ms, with the prompt's "
            f"{count(found.prompt_tokens, 'token')}",
            y_label="ms",
        )
    return plots


def _prompt_plot(place: int) -> str:
    return f"prompt_{place:02d}.svg"


def _speed(profile: Profile) -> str:
    rows: list[tuple[str, float, str]] = []
    for place, found in enumerate(profile.prompts, 1):
        for what, speed in (("prefill", found.prefill_tokens_per_s), ("decode", found.tokens_per_s)):
            if speed is not None:
                rows.append((f"prompt {place}, {what}", speed.median, f"{_spread(speed)} tokens/s"))
    return svg.bars("Tokens a second: the median, and the slowest and fastest repeat", rows)


def _roofline(profile: Profile) -> str:
    points = [
        (name, (work.flops / work.bytes, work.flops / work.seconds))
        for name, work in (("prefill", profile.prefill), ("decode", profile.decode))
        if work is not None
    ]
    return svg.roofline(
        "What it reaches of what this machine showed it can do",
        profile.peak.flops_per_s,
        profile.peak.bytes_per_s,
        points,
    )


def _operators(table: OperatorTable) -> str:
    rows = [
        (row.name, row.self_ms, f"{row.self_ms:.2f} ms, {row.self_ms / table.self_ms:.0%}, {count(row.calls, 'call')}")
        for row in table.operators[:_BARS]
    ]
    return svg.bars(f"Where the time of {table.phase} goes (under the profiler)", rows)


def _memory(found: MemoryTimeline) -> str:
    def megabytes(values: list[int]) -> list[svg.Point]:
        return [(second, value / 1e6) for second, value in zip(found.seconds, values, strict=True)]

    series = [("RAM", megabytes(found.resident))]
    if found.gpu:
        series.append(("GPU", megabytes(found.gpu)))
    bands = [(phase.name, phase.start, phase.end) for phase in found.phases]
    return svg.lines("Memory over time", series, x_label="seconds", y_label="MB", bands=bands)


def summary_rows(profile: Profile) -> list[tuple[str, str]]:
    """What was measured, each with its value: the median, and from the lowest to the highest in parentheses."""
    machine, peak = profile.machine, profile.peak
    speed = profile.tokens_per_s
    rows = [
        ("time to first token", f"{_spread(profile.time_to_first_token_ms)} ms"),
        ("prefill", f"{_spread(profile.prefill_tokens_per_s)} tokens/s, {_utilisation(profile.prefill)}"),
    ]
    if speed is not None and profile.decode is not None:
        rows.append(("decode", f"{_spread(speed)} tokens/s, {_utilisation(profile.decode)}"))
    rows += [
        (
            "the machine's peak",
            f"{peak.flops_per_s / 1e9:,.1f} GFLOP/s (a float32 product of width {peak.matrix}), "
            f"{peak.bytes_per_s / 1e9:,.1f} GB/s (copying and summing {size(peak.buffer_bytes)})",
        ),
        ("memory", f"{size(profile.peak_resident_bytes)} at most, of it {size(profile.weight_bytes)} weights"),
        ("machine", f"{machine.cpu}, {count(machine.threads, 'thread')}, {machine.device}, torch {machine.torch}"),
        ("measured", f"{count(profile.repeats, 'repeat')} after {profile.warmup} to warm up"),
    ]
    if profile.peak_gpu_bytes is not None:
        rows.append(("GPU memory", f"{size(profile.peak_gpu_bytes)} at most"))
    return rows


def busy_warning(profile: Profile) -> str:
    """That other programs kept the machine busy while it was measured; empty where they did not."""
    busy = profile.machine.busy_elsewhere or 0.0
    if busy <= _BUSY:
        return ""
    return f"Other programs kept {busy:.1f} cores busy meanwhile: on an idle machine it is faster."


def _summary(profile: Profile) -> str:
    table = "".join(f"| {name} | {text} |\n" for name, text in summary_rows(profile))
    warning = busy_warning(profile)
    return (
        "# The float model: its answers, and how fast\n\n"
        + (f"**{warning}**\n\n" if warning else "")
        + f"| what | median (lowest to highest) |\n| --- | --- |\n{table}"
    )


def _answer(place: int, prediction: Prediction, found: PromptProfile) -> str:
    speed = f", {prediction.tokens_per_s:.1f} tokens/s" if prediction.tokens_per_s is not None else ""
    cut = "" if found.ended else ", cut off"
    return (
        f"## Prompt {place}\n\n{_quoted(prediction.prompt)}\n\n{_fenced(prediction.text_clean)}\n\n"
        f"{count(prediction.tokens, 'token')}{cut}; first after {prediction.prefill_ms:.1f} ms{speed}.\n"
    )


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _fenced(text: str) -> str:
    """As it is, whatever it holds."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def _spread(found: Spread) -> str:
    return f"{found.median:,.1f} ({found.low:,.1f} to {found.high:,.1f})"


def _utilisation(work: Utilisation) -> str:
    return f"{work.flops_share:.0%} of the peak FLOP/s and {work.bytes_share:.0%} of the peak bandwidth"
