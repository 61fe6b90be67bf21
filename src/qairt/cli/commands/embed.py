"""`qairt embed`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from qairt.cli.console import emit, emit_json, report, styled
from qairt.cli.options import CacheDir, GenerateTarget, Json, Recipe

if TYPE_CHECKING:
    from qairt.results.embedding import Embeddings


def embed(
    recipe: Recipe,
    texts: Annotated[list[str], typer.Argument(metavar="TEXT…", help="The texts; - reads standard input, one a line.")],
    *,
    target: Annotated[
        GenerateTarget,
        typer.Option(
            help="cpu: the quantized graphs in ONNX Runtime. torch: the float model. htp-emulator: the graphs compiled"
            " for the NPU, emulated. genie: the same in the vendor's runtime, as on a device."
        ),
    ] = "cpu",
    prompt: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="What the model's authors put before texts of this use, such as query."),
    ] = None,
    cache_dir: CacheDir = None,
    as_json: Json = False,
) -> None:
    """Make vectors of texts with the quantized embedding model.

    Needs a finished run. Prints how similar the texts are: the cosine of the angle between each two vectors. --json
    prints the vectors too. KEY=VALUE words override the recipe.

    \b
    Examples:
      qairt embed recipe.yaml "a cat on a mat" "a kitten" "interest rates"
      qairt embed recipe.yaml "Who wrote Moby-Dick?" --prompt query --json
      qairt embed recipe.yaml "a cat on a mat" --target genie
    """
    from qairt.cli.find_recipe import open_pipeline
    from qairt.cli.prompts import texts_and_overrides

    given, overrides = texts_and_overrides(texts)
    if given == ["-"]:
        given = [line for line in sys.stdin.read().splitlines() if line.strip()]
    pipeline = open_pipeline(recipe, overrides, cache_dir)
    found = pipeline.embed(given, target=target, prompt=prompt, notify=report)
    if as_json:
        texts_read = zip(found.texts, found.tokens, found.vectors.tolist(), strict=True)
        rows = [{"text": text, "tokens": tokens, "vector": vector} for text, tokens, vector in texts_read]
        emit_json({"target": target, "texts": rows, "cosines": found.cosines.tolist()})
        return
    for line in table(found):
        emit(line)
    report(styled(f"{found.vectors.shape[1]:,} values each; --json prints them", "dim", stream=sys.stderr))


def table(found: Embeddings) -> list[str]:
    """One line a text: its number, its cosines with the others, how many tokens it has, and its beginning."""
    from qairt.printable import printable

    lines = []
    for number, (text, tokens, row) in enumerate(zip(found.texts, found.tokens, found.cosines, strict=True), 1):
        cosines = " ".join(f"{value:6.3f}" for value in row)
        lines.append(f"{number:>3}  {cosines}  {tokens:>5} tokens  {printable(text)[:60]}")
    return lines
