"""Chat templates, rendered in a sandbox: they come with a model and are not trusted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qairt.errors import ModelError

if TYPE_CHECKING:
    from jinja2 import Template

Message = Mapping[str, Any]
"""`{"role": "user", "content": "…"}`."""


def render_chat(template: str, messages: Sequence[Message], **variables: Any) -> str:
    """The prompt that `template` makes of a conversation.

    Args:
        template: Jinja as Hugging Face writes it.
        messages: the conversation so far.
        variables: what else the template may ask for: `add_generation_prompt`, `bos_token`, …

    Raises:
        ModelError: the template is malformed, or refuses these messages.
    """
    from jinja2 import TemplateError

    try:
        return _compiled(template).render(messages=list(messages), **variables)
    except (TemplateError, TypeError, ValueError, KeyError) as error:
        raise ModelError(
            f"the chat template cannot render these messages: {error}",
            remedy="give messages in the roles the model knows, or a prompt without a template",
        ) from error


def _compiled(template: str) -> Template:
    from jinja2 import TemplateError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.nodes import Node
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the assistant's words for training; here it renders what it holds."""

        tags = {"generation"}  # noqa: RUF012 - jinja's own attribute

        def parse(self, parser: Parser) -> list[Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        # Jinja's own escapes HTML.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda layout: datetime.now().strftime(layout)
    return environment.from_string(template)
