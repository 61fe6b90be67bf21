"""Chat templates that never end, fill the memory or raise anything: each is one error, and qairt goes on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from qairt.errors import ModelError
from qairt.model.chat import MAX_PROMPT, render_chat

MESSAGES = [{"role": "user", "content": "hi"}]
PUBLISHED = "\n  use the template that was published with the model, or a prompt without a template"
OTHER_ROLES = "\n  use the roles that the model supports, or a prompt without a template"
STOPPED = f"the chat template was stopped after 2 s: it may loop without end{PUBLISHED}"
LOOP = "{% for i in range(99999) %}" * 3 + "{% endfor %}" * 3


def fault(template: str) -> str:
    with pytest.raises(ModelError) as raised:
        render_chat(template, MESSAGES)
    return str(raised.value)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (LOOP, STOPPED),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "maximum recursion depth exceeded"),
        ("{% for i in range(10**12) %}{% endfor %}", "Range too big. The sandbox blocks ranges larger than"),
        ("{{ 'a' * 10**10 }}", "it needs more than 1 GB of memory"),
        ("{{ '%9999999999d' % 1 }}", "it needs more than 1 GB of memory"),
        ("{{ 'a' | center(10**10) }}", "it needs more than 1 GB of memory"),
        ("{{ 'a' * 20_000_000 }}", f"it writes more than {MAX_PROMPT:,} characters"),
        ("{{ 10**(10**9) }}", STOPPED),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages[9].content }}", "has no element 9"),
        ("{{ 'a' | no_such_filter }}", "No filter named 'no_such_filter'"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", ""),
        ("{% include '/etc/passwd' %}", "no loader for this environment specified"),
    ],
)
def test_a_template_cannot_do_harm(template: str, expected: str) -> None:
    found = fault(template)
    assert found == STOPPED if expected == STOPPED else expected in found and found.endswith(PUBLISHED)


def test_a_thread_has_the_same_limit() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(fault, LOOP).result() == STOPPED


def test_a_fault_that_the_template_writes_is_cut() -> None:
    found = fault("{{ raise_exception('x' * 5000) }}")
    assert found == f"the chat template rejects these messages: {'x' * 300}{OTHER_ROLES}"


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{% for m in messages %}\n{{ m.content }", "line 2: unexpected '}'"),
        ("{% if true %}", "line 1: Unexpected end of template. Jinja was looking for the following tags"),
        ("hi\n{{ 'a' | no_such_filter }}", "line 2: No filter named 'no_such_filter'."),
    ],
)
def test_a_malformed_template_is_named_by_line(template: str, why: str) -> None:
    found = fault(template)
    assert found.startswith(f"the chat template is not Jinja: {why}")
    assert found.endswith(PUBLISHED)
