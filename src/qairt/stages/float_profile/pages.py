"""Reports of `torch_profiler`: answers as JSON lines, a page about them, and plots."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from qairt.amounts import count, size
from qairt.files import read_regular
from qairt.recipe.output_settings import ModelVisualization
from qairt.stages.float_profile.memory_trace import MemoryTimeline
from qairt.stages.float_profile.operators import OperatorTable
from qairt.stages.float_profile.record import Profile, PromptProfile, Spread, predictions_of
from qairt.stages.float_profile.roofline import Utilisation
from qairt.stages.float_profile.workload import ProfiledModel
from qairt.stages.pictures import svg
from qairt.stages.predictions import Prediction

_TABLES: TypeAdapter[list[OperatorTable]] = TypeAdapter(list[OperatorTable])
_BARS = 12
_BUSY_CORES = 0.3
"""Load from other programs above which the page shows a warning."""


def read_profile(output: ProfiledModel) -> Profile:
    """The results."""
    return Profile.model_validate_json(read_regular(output.profile))


def read_operators(output: ProfiledModel) -> list[OperatorTable]:
    """Operator tables of prefill and decode; empty if torch.profiler was disabled."""
    return _TABLES.validate_json(read_regular(output.operators)) if output.operators is not None else []


def write_predictions(profile: Profile, directory: Path, *, strip_special_tokens: bool) -> None:
    """Write `predictions.jsonl`, one line per prompt."""
    lines = predictions_of(profile, strip_special_tokens=strip_special_tokens)
    text = "".join(line.model_dump_json() + "\n" for line in lines)
    (directory / "predictions.jsonl").write_text(text, encoding="utf-8")


def write_pages(
    output: ProfiledModel, directory: Path, *, strip_special_tokens: bool, settings: ModelVisualization
) -> None:
    """Write `predictions.md` with the answers, the plots it shows, `operators.md` and the Chrome trace.

    Args:
        strip_special_tokens: as for `write_predictions`.
        settings: number and width of the plots on the page.
    """
    profile = read_profile(output)
    plots = _plots(output, profile)
    for name, text in plots.items():
        (directory / name).write_text(text, encoding="utf-8")
    for path in (output.operators_markdown, output.trace):
        if path is not None:
            shutil.copyfile(path, directory / path.name)
    predictions = predictions_of(profile, strip_special_tokens=strip_special_tokens)
    embedded = list(plots)[: settings.max_images]

    def show(name: str) -> str:
        caption = name.removesuffix(".svg").replace("_", " ")
        image = f'<a href="{name}"><img src="{name}" width="{settings.thumbnail_width}" alt="{caption}"></a>\n'
        return image if name in embedded else ""

    parts = [_summary(profile), "".join(show(name) for name in plots if not name.startswith("prompt_"))]
    for number, (prediction, prompt) in enumerate(zip(predictions, profile.prompts, strict=True), 1):
        parts.append(_answer(number, prediction, prompt) + "\n" + show(_prompt_plot(number)))
    if output.operators_markdown is not None:
        parts.append("[Operator tables](operators.md); [Chrome trace](trace.json.gz), to open in Perfetto.\n")
    (directory / "predictions.md").write_text("\n".join(part for part in parts if part), encoding="utf-8")


def _plots(output: ProfiledModel, profile: Profile) -> Mapping[str, str]:
    """SVG text by file name, most useful first."""
    plots = {"speed.svg": _speed(profile), "roofline.svg": _roofline(profile)}
    for table in read_operators(output):
        plots[f"operators_{table.phase}.svg"] = _operators(table)
    plots["memory.svg"] = _memory(MemoryTimeline.model_validate_json(read_regular(output.memory)))
    for number, prompt in enumerate(profile.prompts, 1):
        plots[_prompt_plot(number)] = svg.lines(
            f"Prompt {number}: time per token after the first",
            [("token", [(float(token), ms) for token, ms in enumerate(prompt.token_ms, 1)][1:])],
            x_label=f"token of the answer; the first took {prompt.token_ms[0]:.1f} ms, including prefill of "
            f"{count(prompt.prompt_tokens, 'token')}",
            y_label="ms",
        )
    return plots


def _prompt_plot(number: int) -> str:
    return f"prompt_{number:02d}.svg"


def _speed(profile: Profile) -> str:
    rows: list[tuple[str, float, str]] = []
    for number, prompt in enumerate(profile.prompts, 1):
        for phase, speed in (("prefill", prompt.prefill_tokens_per_s), ("decode", prompt.tokens_per_s)):
            if speed is not None:
                rows.append((f"prompt {number}, {phase}", speed.median, f"{_spread(speed)} tokens/s"))
    return svg.bars("Tokens per second: median (slowest to fastest repeat)", rows)


def _roofline(profile: Profile) -> str:
    points = [
        (name, (work.flops / work.bytes, work.flops / work.seconds))
        for name, work in (("prefill", profile.prefill), ("decode", profile.decode))
        if work is not None
    ]
    return svg.roofline(
        "Roofline: throughput reached against the machine's measured peak",
        profile.peak.flops_per_s,
        profile.peak.bytes_per_s,
        points,
    )


def _operators(table: OperatorTable) -> str:
    rows = [
        (row.name, row.self_ms, f"{row.self_ms:.2f} ms, {row.self_ms / table.self_ms:.0%}, {count(row.calls, 'call')}")
        for row in table.operators[:_BARS]
    ]
    return svg.bars(f"Self time of {table.phase} by operator (under the profiler)", rows)


def _memory(timeline: MemoryTimeline) -> str:
    def megabytes(values: list[int]) -> list[svg.Point]:
        return [(second, value / 1e6) for second, value in zip(timeline.seconds, values, strict=True)]

    series = [("RAM", megabytes(timeline.resident))]
    if timeline.gpu:
        series.append(("GPU", megabytes(timeline.gpu)))
    bands = [(phase.name, phase.start, phase.end) for phase in timeline.phases]
    return svg.lines("Memory over time", series, x_label="seconds", y_label="MB", bands=bands)


def summary_rows(profile: Profile) -> list[tuple[str, str]]:
    """Quantity and value of each measurement: the median, with minimum and maximum in parentheses."""
    machine, peak = profile.machine, profile.peak
    speed = profile.tokens_per_s
    rows = [
        ("time to first token", f"{_spread(profile.time_to_first_token_ms)} ms"),
        ("prefill", f"{_spread(profile.prefill_tokens_per_s)} tokens/s, {_utilisation(profile.prefill)}"),
    ]
    if speed is not None and profile.decode is not None:
        rows.append(("decode", f"{_spread(speed)} tokens/s, {_utilisation(profile.decode)}"))
    warm_up = count(profile.warmup, "warm-up pass", "warm-up passes")
    rows += [
        (
            "the machine's peak",
            f"{peak.flops_per_s / 1e9:,.1f} GFLOP/s (float32 matrix product, {peak.matrix} x {peak.matrix}), "
            f"{peak.bytes_per_s / 1e9:,.1f} GB/s (copy or sum of {size(peak.buffer_bytes)})",
        ),
        ("memory", f"peak {size(profile.peak_resident_bytes)}, of which weights {size(profile.weight_bytes)}"),
        ("machine", f"{machine.cpu}, {count(machine.threads, 'thread')}, {machine.device}, torch {machine.torch}"),
        (
            "measured",
            f"{count(profile.repeats, 'repeat')} after {warm_up}",
        ),
    ]
    if profile.peak_gpu_bytes is not None:
        rows.append(("GPU memory", f"peak {size(profile.peak_gpu_bytes)}"))
    return rows


def busy_warning(profile: Profile) -> str:
    """A warning that other programs used the CPU during the measurement; empty if they did not."""
    busy = profile.machine.busy_elsewhere or 0.0
    if busy <= _BUSY_CORES:
        return ""
    return f"Other programs used {busy:.1f} cores during the measurement: an idle machine is faster."


def _summary(profile: Profile) -> str:
    table = "".join(f"| {name} | {text} |\n" for name, text in summary_rows(profile))
    warning = busy_warning(profile)
    return (
        "# Float model: answers and speed\n\n"
        + (f"**{warning}**\n\n" if warning else "")
        + f"| quantity | median (minimum to maximum) |\n| --- | --- |\n{table}"
    )


def _answer(number: int, prediction: Prediction, prompt: PromptProfile) -> str:
    speed = f", {prediction.tokens_per_s:.1f} tokens/s" if prediction.tokens_per_s is not None else ""
    cut = "" if prompt.ended else ", cut off"
    return (
        f"## Prompt {number}\n\n{_quoted(prediction.prompt)}\n\n{_fenced(prediction.text_clean)}\n\n"
        f"{count(prediction.tokens, 'token')}{cut}; first after {prediction.prefill_ms:.1f} ms{speed}.\n"
    )


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _fenced(text: str) -> str:
    """In a fence longer than any inside `text`."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def _spread(spread: Spread) -> str:
    return f"{spread.median:,.1f} ({spread.low:,.1f} to {spread.high:,.1f})"


def _utilisation(work: Utilisation) -> str:
    return f"{work.flops_share:.0%} of the peak FLOP/s and {work.bytes_share:.0%} of the peak bandwidth"
