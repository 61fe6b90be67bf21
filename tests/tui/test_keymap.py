"""The key table: unique ids, no key used twice in a scope, short labels."""

from __future__ import annotations

from collections import Counter

import pytest

from qairt.tui.key_names import SCOPES, effective, wrong_keys
from qairt.tui.keymap import KEYS, all_keys, bindings


def test_every_id_is_there_once() -> None:
    assert [name for name, times in Counter(key.id for _, key in all_keys()).items() if times > 1] == []


@pytest.mark.parametrize("scope", KEYS)
def test_no_default_key_is_given_twice_in_a_scope(scope: str) -> None:
    given = Counter(key.strip() for keys in effective(scope, {}).values() for key in keys.split(","))
    assert [key for key, times in given.items() if times > 1] == []


def test_every_default_key_is_one_that_a_user_could_give() -> None:
    for _, key in all_keys():
        assert wrong_keys({key.id: key.keys}) == {}


def test_every_scope_has_a_title_and_says_what_its_keys_do() -> None:
    assert set(KEYS) <= set(SCOPES)
    for scope, key in all_keys():
        assert key.help.endswith("."), f"{scope}: {key.id}"
        assert not key.footer or len(key.label) <= 12, f"{scope}: {key.id} crowds the footer"


@pytest.mark.parametrize("scope", KEYS)
def test_a_footer_has_at_most_eight_entries(scope: str) -> None:
    assert sum(key.footer for key in KEYS[scope]) <= 8


@pytest.mark.parametrize("scope", KEYS)
def test_bindings_carry_the_ids(scope: str) -> None:
    assert [binding.id for binding in bindings(scope)] == [key.id for key in KEYS[scope]]  # type: ignore[union-attr]
