"""No sentence of the specification's pages on utilities (000) and on outputs (003) is without a test.

The pages are not kept here. Where they are, set QAIRT_SEEDS to their folder to compare them with the list.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
import yaml
from seed_sentences import digest, read

HERE = Path(__file__).parent
LISTED: dict[str, list[dict]] = yaml.safe_load((HERE / "seed_sentences.yaml").read_text())
GROUPS = [(page, group) for page, groups in LISTED.items() for group in groups]


@pytest.mark.parametrize(("page", "group"), GROUPS, ids=[f"{page}: {group['about']}" for page, group in GROUPS])
def test_every_sentence_has_a_test(page, group):
    assert group["sentences"]
    if group["test"] is None:
        assert group["about"].endswith(": nothing to test")
        return
    file, _, name = group["test"].partition("::")
    tree = ast.parse((HERE.parent / file).read_text())
    defined = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
    assert name in defined, f"{file} has no {name}, the test of: {group['about']}"


def test_no_sentence_is_listed_twice():
    for page, groups in LISTED.items():
        listed = [sentence for group in groups for sentence in group["sentences"]]
        assert sorted(listed) == sorted(set(listed)), page


@pytest.mark.skipif("QAIRT_SEEDS" not in os.environ, reason="the pages are not here")
@pytest.mark.parametrize("page", LISTED)
def test_the_list_is_that_of_the_page(page):
    (file,) = Path(os.environ["QAIRT_SEEDS"]).glob(f"{page}_*.txt")
    found = {digest(sentence): sentence for sentence in read(file)}
    listed = {sentence for group in LISTED[page] for sentence in group["sentences"]}
    assert [found[key] for key in found.keys() - listed] == [], "sentences without a test"
    assert listed - found.keys() == set(), "listed, but not on the page"
