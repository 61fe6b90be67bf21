"""Chat templates, rendered in a sandbox because they come with a model and are not trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from qairt.errors import ModelError

if TYPE_CHECKING:
    from jinja2 import Template

Message = Mapping[str, object]
"""`{"role": "user", "content": "…"}`."""


def render_chat(template: str, messages: Sequence[Message], **variables: object) -> str:
    """Render a conversation as a prompt.

    Args:
        template: Jinja as Hugging Face writes it.
        messages: the conversation so far.
        variables: what else the template may use: `add_generation_prompt`, `bos_token`, …

    Raises:
        ModelError: the template is malformed, or rejects these messages.
    """
    from jinja2 import TemplateError

    try:
        return _compiled(template).render(messages=list(messages), **variables)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise ModelError(
            f"the chat template cannot render these messages: {error}",
            remedy="use the roles that the model supports, or a prompt without a template",
        ) from error


def _compiled(template: str) -> Template:
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class GenerationTag(Extension):
        """`{% generation %}` marks the assistant's text for training; here it only renders its content."""

        tags = {"generation"}  # noqa: RUF012 - jinja's own attribute

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(
        value: object,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        # Jinja's own escapes HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment.from_string(template)
