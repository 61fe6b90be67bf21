"""A page that shows all pictures of a stage."""

from __future__ import annotations

from html import escape
from pathlib import Path

from qairt.recipe.output_settings import ModelVisualization

PAGE = "gallery.html"
_PAGES = ("predictions.md", PAGE, "predictions.jsonl")
_PICTURES = (".svg", ".png", ".jpg", ".jpeg", ".webp")

_STYLE = """
:root { color-scheme: light dark; }
body { font-family: system-ui, sans-serif; margin: 1.5rem; line-height: 1.4; }
figure { display: inline-block; margin: 0 1.5rem 1.5rem 0; vertical-align: top; max-width: 100%; }
img { max-width: 100%; height: auto; border: 1px solid #8885; border-radius: 4px; background: #fff; }
figcaption { font-size: 0.9rem; }
"""


def write_gallery(directory: Path, title: str, settings: ModelVisualization) -> None:
    """Write `gallery.html`: the first `max_images` pictures in `directory`, each `thumbnail_width` wide and a link to
    its file. No page without pictures."""
    pictures = sorted(path for path in directory.rglob("*") if path.suffix.lower() in _PICTURES)
    shown = pictures[: settings.max_images]
    if not shown:
        return
    figures = []
    for path in shown:
        name = escape(path.relative_to(directory).as_posix(), quote=True)
        caption = escape(path.stem.replace("_", " "))
        figures.append(
            f'<figure><a href="{name}"><img src="{name}" width="{settings.thumbnail_width}" alt="{caption}"></a>'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    rest = len(pictures) - len(shown)
    more = [f"<p>{rest} more in this folder.</p>"] if rest else []
    page = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *figures,
        *more,
        "</body></html>",
    ]
    (directory / PAGE).write_text("\n".join(page) + "\n", encoding="utf-8")


def page_in(directory: Path) -> Path | None:
    """What a reader opens first in the folder of an output; None if it has no page."""
    return next((path for path in (directory / name for name in _PAGES) if path.is_file()), None)
