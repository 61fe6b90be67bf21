"""The result of `qairt verify` as text: parts rung by rung, the modules with the largest loss, the verdict."""

from __future__ import annotations

from qairt.amounts import count, duration
from qairt.cli.console import is_terminal, output_stream, styled, table, width, wrapped
from qairt.runtime.metrics import MAX_DB
from qairt.verify.result import (
    CheckpointFidelity,
    LayerCost,
    PartFidelity,
    RungFidelity,
    TokenFidelity,
    VectorFidelity,
    Verification,
)

LAYERS = 8
"""Modules listed; `--json` has all."""
BAR = 40
"""Columns of the longest bar, if the terminal is wide enough."""
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def verification_lines(found: Verification) -> list[str]:
    """Each rung's parts, the modules with the largest loss, the verdict; at most 80 columns."""
    lines = _ladder(found.parts())
    lines += [wrapped(f"{skipped.rung}: skipped: {skipped.why}", indent=2) for skipped in found.skipped]
    lines += [line for measured in found.rungs for line in _against_cpu(measured)]
    for measured in found.rungs:
        if measured.layers:
            lines += ["", *layer_lines(measured)]
    for runtime in found.tokens:
        lines += [*([""] if lines else []), *token_lines(runtime, found.max_tie)]
    for vectors in found.vectors:
        lines.append(_vector_line(vectors, found.min_cpu_db))
    if found.checkpoint is not None:
        lines.append(_checkpoint_line(found.checkpoint))
    return [*lines, "", _verdict(found)]


def _checkpoint_line(found: CheckpointFidelity) -> str:
    agreement = f"{_db(found.sqnr_db)} dB over {found.tokens} tokens, top-1 agreement {found.top1:.1%}"
    return wrapped(f"checkpoint: the float model against {found.reader}: {agreement}", indent=2)


def layer_lines(rung: RungFidelity) -> list[str]:
    """The modules with the largest loss, largest first, each with a bar."""
    costs = rung.costliest()
    listed = costs[:LAYERS]
    title = f"Loss at the logits from quantizing one module alone (simulated; {len(listed)} of {len(costs)}):"
    header = ("module", "KL", "top-1", "own SQNR")
    rows = [_layer_row(cost) for cost in listed]
    taken = sum(max(map(len, column)) + 2 for column in zip(header, *rows, strict=True))
    room = min(BAR, max(width() - taken, 1))
    most = max(costs[0].kl, 1e-12)
    drawn = [(*row, bar(cost.kl / most, room)) for row, cost in zip(rows, listed, strict=True)]
    return [title, *table(drawn, header=(*header, ""), right=(1, 2, 3))]


def token_lines(found: TokenFidelity, most: float) -> list[str]:
    """The tokens of both runtimes, one line each, and their first difference."""
    read, each = count(len(found.prompt), "token"), duration(found.seconds_a_token)
    lines = [styled(f"{found.name}: {count(len(found.found), 'token')} after {read} of text, {each} per token", "bold")]
    width_ = max(len(str(token)) for token in (*found.cpu, *found.found))
    for name, tokens in (("cpu", found.cpu), (found.rung, found.found)):
        lines.append(f"  {name:<{max(len(found.rung), 3)}}  " + " ".join(f"{token:>{width_}}" for token in tokens))
    first = found.first_difference
    if first is None or found.margin is None:
        return [*lines, "  identical"]
    verdict = f"a tie: up to {most:g} is allowed" if found.passes(most) else f"at most {most:g} is allowed"
    margin = f"the CPU prefers its own by a logit margin of {found.margin:.2f} ({verdict})"
    line = f"  they differ from token {first + 1} on: {margin}"
    return [*lines, wrapped(line, indent=2)]


def _vector_line(found: VectorFidelity, needed: float) -> str:
    """How close another runtime's vectors are to the CPU's."""
    texts = " and ".join(map(str, found.tokens))
    line = (
        f"{found.name}: at least {_db(min(found.sqnr_db))} dB against the CPU's vectors with the same parts, cosine"
        f" {min(found.cosine):.5f} (texts of {texts} tokens; the threshold is {needed:.0f} dB)"
    )
    return wrapped(line, indent=2)


def bar(fraction: float, columns: int) -> str:
    """A bar of `fraction`, 0 … 1, of `columns`: in eighths of a column on a terminal that shows them, else in `#`."""
    if not (is_terminal() and _shows(_EIGHTHS)):
        return "#" * round(columns * fraction)
    whole, eighths = divmod(round(8 * columns * fraction), 8)
    return (_EIGHTHS[8] * whole + _EIGHTHS[eighths]).rstrip()


def _shows(characters: str) -> bool:
    try:
        characters.encode(output_stream().encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _ladder(parts: list[PartFidelity]) -> list[str]:
    """One heading per rung, one line per part."""
    if not parts:
        return []
    header = ("part", "isolated", "chained", "top-1", "KL", "max error", "worst output", "")
    top, *body = table([_part_row(part) for part in parts], header=header, right=(0, 1, 2, 3, 4, 5))
    lines = [top]
    rung = None
    for part, line in zip(parts, body, strict=True):
        if part.name != rung:
            rung = part.name
            lines.append(styled(f"{part.name}, at least {part.needed_db:.0f} dB", "bold"))
        lines.append(line)
    return lines


def _part_row(part: PartFidelity) -> tuple[str, ...]:
    return (
        str(part.part),
        _db(part.isolated_db),
        _db(part.chained_db),
        "" if part.top1 is None else f"{part.top1:.1%}",
        "" if part.kl is None else f"{part.kl:.2g}",
        f"{part.max_error:.1e}",
        part.worst.partition(",")[0],
        "ok" if part.passes else "LOW",
    )


def _layer_row(cost: LayerCost) -> tuple[str, ...]:
    return cost.name, f"{cost.kl:.2g}", f"{cost.top1:.1%}", _db(cost.sqnr_db)


def _db(value: float | None) -> str:
    return "" if value is None else "equal" if value >= MAX_DB else f"{value:.1f}"


def _against_cpu(rung: RungFidelity) -> list[str]:
    """How close the emulator is to the CPU on the same graphs."""
    found = [output for output in rung.outputs if output.cpu_db is not None]
    if not found:
        return []
    worst = min(found, key=lambda output: output.cpu_db or 0.0)
    line = (
        f"{rung.name}: at least {_db(worst.cpu_db)} dB against the CPU on the same graphs and inputs"
        f" ({worst.output} of part {worst.part}, AR {worst.ar}, {worst.way})"
    )
    return [wrapped(line, indent=2)]


def _verdict(found: Verification) -> str:
    measured: list[RungFidelity | TokenFidelity | VectorFidelity] = [*found.rungs, *found.tokens, *found.vectors]
    seconds = duration(sum(rung.seconds for rung in measured if rung.name not in found.reused))
    reused = f", {count(len(found.reused), 'rung')} reused" if found.reused else ""
    below, far, differing = found.first_below(), found.first_far(), found.first_differing()
    if not measured:
        return "nothing was measured"
    if found.is_misread and found.checkpoint is not None:
        text = (
            f"the checkpoint is read wrongly: {found.checkpoint.reader} reads another model from the same files"
            f" ({_db(found.checkpoint.sqnr_db)} dB, at least {found.min_sqnr_db['export']:.0f} are expected); please"
            f" report it ({seconds}{reused})"
        )
    elif below is not None:
        text = (
            f"first below its threshold: {below.name}, part {below.part}: {below.worst} has {below.judged_db:.1f} dB,"
            f" the threshold is {below.threshold_db:.0f} dB ({seconds}{reused})"
        )
    elif far is not None:
        text = (
            f"warn: each part is above its threshold, but {far.name} as a whole is out of bounds: top-1 agreement"
            f" {far.top1:.1%} (at least {far.bounds.min_top1:.0%}), KL {far.kl:.2g} (at most {far.bounds.max_kl:.2g})"
            f" ({seconds}{reused})"
        )
        return styled(wrapped(text, indent=2), "yellow")
    elif differing is not None:
        text = f"{differing.name} generates other tokens than the CPU with the same parts ({seconds}{reused})"
    elif (astray := found.first_astray()) is not None:
        text = (
            f"{astray.name} makes other vectors than the CPU with the same parts: {min(astray.sqnr_db):.1f} dB,"
            f" the threshold is {found.min_cpu_db:.0f} dB ({seconds}{reused})"
        )
    else:
        alone = "as the CPU, but for rounding" if found.vectors else "identical to the CPU"
        what = "all parts are above their thresholds" if found.rungs else alone
        return styled(f"{what} ({seconds}{reused})", "green")
    return styled(wrapped(text, indent=2), "red")
