"""`Recipe`: files, locations, overrides, schemas."""

from __future__ import annotations

import copy
import os
import pickle
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from qairt.errors import RecipeError
from qairt.recipe import Recipe, recipe_representer

TEXT = """\
# a comment
model_id_or_path: model
stages:
  quantization:
    recipe: lpbq_mse.yaml
    module_precisions:
      "model.layers.0": 8
  prepare_exports: {arn: [1, 128]}
  split_model.num_splits: 4
"""


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def recipe() -> Recipe:
    Path("r.yaml").write_text(TEXT)
    return Recipe.from_file("r.yaml")


# The seed's interface


def test_it_is_a_mapping_in_insertion_order():
    recipe = Recipe({"b": 1, "a": {"d": 1, "c": 2}}, z=3)
    assert recipe == {"b": 1, "a": {"d": 1, "c": 2}, "z": 3}
    recipe.to_yaml("r.yaml")
    assert Path("r.yaml").read_text() == "b: 1\na:\n  d: 1\n  c: 2\nz: 3\n"
    assert list(Recipe.from_yaml("r.yaml")) == ["b", "a", "z"]


def test_the_schema_is_kept():
    assert Recipe({"a": 1}).schema is None
    assert Recipe({"a": 1}, schema={"type": "object"}).schema == {"type": "object"}
    Path("r.yml").write_text("a: 1\n")
    assert Recipe.from_file("r.yml", schema={"type": "object"}).schema == {"type": "object"}
    assert Recipe.from_yaml("r.yml", {"type": "object"}).schema == {"type": "object"}


@pytest.mark.parametrize("name", ["recipe.json", "recipe"])
def test_other_extensions_are_a_value_error(name):
    with pytest.raises(ValueError, match=r"is not a recipe's extension\n  a recipe is a \.yaml or \.yml file"):
        Recipe.from_file(name)


@pytest.mark.parametrize("load", [Recipe.from_file, Recipe.from_yaml])
def test_a_missing_file_is_both_errors(load):
    with pytest.raises(FileNotFoundError) as error:
        load("gone.yaml")
    assert isinstance(error.value, RecipeError)
    assert error.value.filename == "gone.yaml"
    remedy = "check the path, or write a recipe with `qairt init MODEL`"
    assert str(error.value) == f"gone.yaml: file not found\n  {remedy}"


def test_a_folder_is_not_a_recipe():
    Path("folder.yaml").mkdir()
    with pytest.raises(RecipeError, match=r"folder\.yaml: this is a folder, not a recipe"):
        Recipe.from_file("folder.yaml")


def dump_in_c(data: object) -> str:
    return yaml.dump(data, Dumper=yaml.CSafeDumper)


@pytest.mark.parametrize("dump", [yaml.dump, yaml.safe_dump, dump_in_c])
def test_any_dumper_writes_a_plain_mapping(dump):
    if dump is dump_in_c and not hasattr(yaml, "CSafeDumper"):
        pytest.skip("this PyYAML has no dumper written in C")
    assert dump({"outer": Recipe({"a": 1})}) == "outer:\n  a: 1\n"
    assert dump([type("Mine", (Recipe,), {})(a=1)]) == "- a: 1\n"


def test_the_representer_stands_alone():
    node = recipe_representer(yaml.SafeDumper(None), Recipe({"a": 1}))
    assert (node.tag, len(node.value)) == ("tag:yaml.org,2002:map", 1)


def test_keywords_reach_yaml_dump():
    recipe = Recipe({"b": [1, 2], "a": "é"})
    recipe.to_yaml("r.yaml", sort_keys=True, default_flow_style=True, encoding="utf-8")
    assert Path("r.yaml").read_text(encoding="utf-8") == "{a: é, b: [1, 2]}\n"


def test_saving_is_whole_or_not_at_all(place):
    Path("r.yaml").write_text("precious: 1\n")
    with pytest.raises(RecipeError, match=r"r\.yaml: YAML cannot represent <object object"):
        Recipe({"a": object()}).to_yaml("r.yaml")
    assert [path.name for path in place.iterdir()] == ["r.yaml"]
    assert Path("r.yaml").read_text() == "precious: 1\n"
    with pytest.raises(FileNotFoundError):
        Recipe({"a": 1}).to_yaml("no/such/folder.yaml")


@pytest.mark.parametrize("value", [{1, 2}, {None: 1}, {(1, 2): 3}, object])
def test_values_that_cannot_be_read_back_are_not_saved(value, place):
    with pytest.raises(RecipeError) as error:
        Recipe({"a": value}).to_yaml("r.yaml")
    remedy = "write it as text, a list or a mapping"
    assert str(error.value) == f"r.yaml: YAML cannot represent {value!r}\n  {remedy}"
    assert list(place.iterdir()) == []


def test_too_deep_nesting_is_not_saved(place):
    value: list[object] = []
    for _ in range(5000):
        value = [value]
    with pytest.raises(RecipeError, match=r"r\.yaml: the recipe is nested too deeply\n  flatten it"):
        Recipe({"a": value}).to_yaml("r.yaml")
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "settings",
    [{"indent": 6}, {"width": 10}, {"canonical": True}, {"default_style": '"'}, {"explicit_end": True}],
    ids=str,
)
def test_every_yaml_style_reads_the_same(settings):
    content = {"a.b": "1e-3", "c": {"d": [1, 2.5, None, True, "x: y é\n z " * 3]}}
    Recipe(content).to_yaml("r.yaml", **settings)
    assert Recipe.from_yaml("r.yaml") == content


def test_saving_keeps_a_files_mode_and_the_link_to_it():
    Path("real.yaml").write_text("a: 1\n")
    Path("real.yaml").chmod(0o600)
    Path("link.yaml").symlink_to("real.yaml")
    Recipe({"a": 2}).to_yaml("link.yaml")
    assert Path("link.yaml").is_symlink()
    assert Path("real.yaml").read_text() == "a: 2\n"
    assert os.stat("real.yaml").st_mode & 0o777 == 0o600


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(content=st.dictionaries(st.text(), values, min_size=1, max_size=3))
def test_saving_and_loading_round_trips(content, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    Recipe(content).to_yaml(path)
    assert Recipe.from_yaml(path) == content


def test_text_that_looks_like_a_number_stays_text():
    content = {"a": "1e-3", "b": "on", "c": "2024-01-01", "d": "a.b", "e.f": 1e-5, "g": Path("x/y"), "h": Recipe(i=1)}
    Recipe(content).to_yaml("r.yaml")
    assert Recipe.from_yaml("r.yaml") == content | {"g": "x/y"}


def test_copies_keep_locations(recipe):
    for other in (recipe.copy(), copy.deepcopy(recipe), pickle.loads(pickle.dumps(recipe))):
        assert type(other) is Recipe
        assert other == recipe
        assert other.where("stages.quantization.recipe") == "r.yaml:5"


# What cannot be read


FEWER = "use fewer; an alias counts as what it refers to"


@pytest.mark.parametrize(
    ("text", "where", "what", "remedy"),
    [
        ("a: 1\na: 2\n", "r.yaml:2", "a is set twice, first on line 1", "remove one of them"),
        ("a:\n  b: 1\n  c: 1\n  b: 2\n", "r.yaml:4", "a.b is set twice, first on line 2", "remove one of them"),
        ("a:\n- {b: 1,\n   b: 2}\n", "r.yaml:3", "a.0.b is set twice, first on line 2", "remove one of them"),
        ("a:\n  b: 1\nc: 2\na.b: 3\n", "r.yaml:4", "a.b is set twice, first on line 2", "remove one of them"),
        (
            "a: 3\na.b: 1\n",
            "r.yaml:2",
            "a.b sets something inside a, which is set on line 1",
            "remove one of them",
        ),
        ("a:\n\tb: 1\n", "r.yaml:2", "a tab in the indentation", "indent with spaces"),
        ("a:\n  b: 1\n\tc: 2\n", "r.yaml:3", "a tab in the indentation", "indent with spaces"),
        ("a:\n  - x\n\t- y\n", "r.yaml:3", "a tab in the indentation", "indent with spaces"),
        (
            "a: [1, 2\nb: 3\n",
            "r.yaml:2",
            "this is not valid YAML: expected ',' or ']', but got ':'",
            "close the bracket, or add a comma",
        ),
        (
            "a: b: c\n",
            "r.yaml:1",
            "this is not valid YAML: mapping values are not allowed here",
            "check the indentation, and quote a value that contains a colon and a space",
        ),
        ("a: 'x\n", "r.yaml:2", "this is not valid YAML: found unexpected end of stream", "close the quote"),
        ("- a\n", "r.yaml:1", "a recipe is a mapping of settings", "write KEY: VALUE"),
        ("# nothing\n", "r.yaml", "the recipe is empty", "`qairt init MODEL` writes one"),
        (
            "a: 1\n---\nb: 2\n",
            "r.yaml:2",
            "this is not valid YAML: but found another document",
            "write one recipe per file",
        ),
        ("a: 2024-99-99\n", "r.yaml:1", "2024-99-99 is not a valid value: month must be in 1..12", "quote it"),
        ("a: 1\nb: \x07\n", "r.yaml:2", "the text contains the invalid character U+0007", "remove it"),
        ("~: 1\n", "r.yaml:1", "a key is empty", "write KEY: VALUE"),
        ("[a]: 1\n", "r.yaml:1", "a key must be a single word", "write KEY: VALUE"),
        ("a: " + "[" * 5000, "r.yaml:1", "the recipe is nested more than 64 deep", "flatten it"),
        ("\na" + ".a" * 400 + ": 1", "r.yaml:2", "the recipe is nested more than 64 deep", "flatten it"),
        ("- 1\n" * 20_000, "r.yaml:10001", "the recipe has more than 10,000 values", FEWER),
        ("".join(f"k{n}: 1\n" for n in range(20_000)), "r.yaml:10001", "the recipe has more than 10,000 values", FEWER),
        (
            "a: 1" + ":59" * 300_000,
            "r.yaml:1",
            "1:59:59:59:59:59:59:59:59:59:59:59:59:59 is not a valid value: a number of more than 400 characters",
            "quote it to make it text",
        ),
        ("a: \0\n", "r.yaml:1", "the text contains the invalid character U+0000", "remove it"),
        ("\nflag: !!bool x\n", "r.yaml:2", "x is not a valid value: it is not a bool", "quote it to make it text"),
        ("a: !!timestamp x\n", "r.yaml:1", "x is not a valid value: it is not a timestamp", "quote it to make it text"),
        ("a: 1\n'a': 2\n", "r.yaml:2", "a is set twice, first on line 1", "remove one of them"),
        ("a.b.c: 1\na.b: 2\n", "r.yaml:2", "a.b is set twice, first on line 1", "remove one of them"),
        ("<<: 3\n", "r.yaml:1", "<< merges mappings only", "write <<: *NAME with the name of a mapping"),
        ("", "r.yaml", "the recipe is empty", "`qairt init MODEL` writes one"),
        ("just words\n", "r.yaml:1", "a recipe is a mapping of settings", "write KEY: VALUE"),
        ("a: &x {b: *x}\n", "r.yaml:1", "an alias refers to a value that contains it", "write the value out"),
    ],
    ids=lambda value: value[:40],
)
def test_syntax_errors(text, where, what, remedy):
    Path("r.yaml").write_text(text)
    with pytest.raises(yaml.YAMLError) as error:
        Recipe.from_file("r.yaml")
    assert isinstance(error.value, RecipeError)
    assert (error.value.where, error.value.what) == (where, what)
    assert error.value.remedy.startswith(remedy)
    assert str(error.value) == f"{where}: {what}\n  {error.value.remedy}"


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.system ['touch made']", "!!python/name:os.system x", "!!set {x, y}", "!mine 3"]
)
def test_a_recipe_constructs_no_objects(value, place):
    Path("r.yaml").write_text(f"a: {value}\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:1: .*\n  remove the tag"):
        Recipe.from_file("r.yaml")
    assert not (place / "made").exists()


def test_aliases_that_expand_to_billions_of_values_are_refused():
    lines = ["a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    Path("r.yaml").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="the recipe has more than 10,000 values"):
        Recipe.from_file("r.yaml")


def test_merges_that_expand_to_billions_of_values_are_refused():
    lines = ["a0: &a0 {x: 1, y: 2}"]
    for count in range(1, 9):
        lines.append(f"a{count}: &a{count}\n  <<: [{', '.join([f'*a{count - 1}'] * 10)}]")
    Path("r.yaml").write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="the recipe has more than 10,000 values"):
        Recipe.from_file("r.yaml")


def test_byte_order_mark_and_crlf():
    Path("r.yaml").write_bytes("\ufeffa: 1\r\nb: 2\r\n".encode())
    recipe = Recipe.from_file("r.yaml")
    assert recipe == {"a": 1, "b": 2}
    assert recipe.where("b") == "r.yaml:2"


def test_text_in_another_encoding():
    Path("r.yaml").write_bytes("a: é\n".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"r\.yaml: the file is not UTF-8 text\n  save it as UTF-8"):
        Recipe.from_file("r.yaml")


def test_text_in_utf_16():
    Path("r.yaml").write_bytes("a: 1\n".encode("utf-16"))
    with pytest.raises(RecipeError, match=r"r\.yaml: the file is not UTF-8 text\n  save it as UTF-8"):
        Recipe.from_file("r.yaml")


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)], ids=["fifo", "device"])
def test_a_fifo_or_a_device_is_not_waited_for(make):
    make("r.yaml")
    with pytest.raises(RecipeError, match=r"r\.yaml: cannot read the file: not a regular file\n  name a \.yaml file$"):
        Recipe.from_file("r.yaml")


def test_a_file_of_another_size_than_a_recipe():
    Path("r.yaml").write_text("a: 1\n")
    os.truncate("r.yaml", 1 << 40)
    with pytest.raises(RecipeError) as error:
        Recipe.from_file("r.yaml")
    assert str(error.value) == (
        "r.yaml: the file has more than 1,000,000 bytes, too many for a recipe\n"
        "  name a .yaml file that describes a run"
    )


# Reading beyond plain YAML


def test_dotted_keys_mean_nesting_and_quoted_ones_do_not():
    Path("r.yaml").write_text("split.num_splits: 9\nsplit:\n  x: 1\n'a.b': 2\nc: {d.e: 3, d.f: 4}\n")
    assert Recipe.from_file("r.yaml") == {
        "split": {"num_splits": 9, "x": 1},
        "a.b": 2,
        "c": {"d": {"e": 3, "f": 4}},
    }


def test_merges_anchors_and_numbers():
    Path("r.yaml").write_text("base: &b {x: 1e-3, y: 2}\nc:\n  <<: *b\n  y: 3\non: 1\ntext: |\n  a\n  \ttabbed\n")
    recipe = Recipe.from_file("r.yaml")
    assert recipe["c"] == {"x": 0.001, "y": 3}
    assert recipe["on"] == 1
    assert recipe["text"] == "a\n\ttabbed\n"
    assert (recipe.where("c.x"), recipe.where("c.y")) == ("r.yaml:1", "r.yaml:4")


# Places


@pytest.mark.parametrize(
    ("path", "where", "origin"),
    [
        ("model_id_or_path", "r.yaml:2", "r.yaml:2"),
        ("stages.quantization.recipe", "r.yaml:5", "r.yaml:5"),
        (("stages", "quantization", "module_precisions", "model.layers.0"), "r.yaml:7", "r.yaml:7"),
        ("stages.quantization.module_precisions.model.layers.0", "r.yaml:7", "r.yaml:7"),
        ("stages.prepare_exports.arn.1", "r.yaml:8", "r.yaml:8"),
        (("stages", "prepare_exports", "arn", 0), "r.yaml:8", "r.yaml:8"),
        ("stages.split_model.num_splits", "r.yaml:9", "r.yaml:9"),
        ("stages.split_model.other", "r.yaml:9", None),
        ("stages.convert.x.y", "r.yaml:3", None),
        ("soc_details", "r.yaml", None),
    ],
)
def test_where_a_value_was_written(recipe, path, where, origin):
    assert recipe.where(path) == where
    assert recipe.origin(path) == origin


def test_a_recipe_in_memory_has_no_lines():
    assert Recipe({"a": 1}).where("a") == "recipe"
    assert Recipe({"a": 1}).origin("a") is None


def test_values_by_path(recipe):
    assert recipe.at("stages.prepare_exports.arn.1") == 128
    assert recipe.at("stages.quantization.module_precisions.model.layers.0") == 8
    assert recipe.at("stages.nothing.here") is None
    assert recipe.at(("stages", "nothing"), default=3) == 3
    assert recipe.at(()) is recipe


# Overrides


def test_overrides(recipe):
    recipe.override(
        [
            "stages.split_model.num_splits=3",
            "stages.prepare_exports.arn=[1, 32]",
            "stages.convert.note=a=b",
            "soc_details=chipset:SM8650",
            "suppress_performance_warnings=true",
            "tolerance=1e-3",
            "stages.quantization={lpbq.block_size: 32}",
            "empty=",
        ]
    )
    assert recipe["stages"]["split_model"] == {"num_splits": 3}
    assert recipe["stages"]["prepare_exports"]["arn"] == [1, 32]
    assert recipe["stages"]["convert"] == {"note": "a=b"}
    assert recipe["soc_details"] == "chipset:SM8650"
    assert recipe["suppress_performance_warnings"] is True
    assert recipe["tolerance"] == 0.001
    assert recipe["stages"]["quantization"] == {"lpbq": {"block_size": 32}}
    assert recipe["empty"] is None
    assert recipe.origin("stages.split_model.num_splits") == "command line"
    assert recipe.where("stages.quantization.lpbq.block_size") == "command line"
    assert recipe.where("stages.convert") == "command line"
    assert recipe.where("stages.split_model") == "r.yaml:9"
    assert recipe.origin("model_id_or_path") == "r.yaml:2"


def test_overrides_reach_keys_with_dots_and_items_of_lists(recipe):
    recipe.override(
        [
            "stages.quantization.module_precisions.model.layers.0=4",
            'stages.quantization.module_precisions."model.layers.1"=16',
            "stages.prepare_exports.arn.1=64",
        ]
    )
    assert recipe["stages"]["quantization"]["module_precisions"] == {"model.layers.0": 4, "model.layers.1": 16}
    assert recipe["stages"]["prepare_exports"]["arn"] == [1, 64]


NOTHING_SET = "\n  write KEY=VALUE with a dotted key, such as stages.split_model.num_splits=3"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("fan", f"command line: 'fan' does not set anything{NOTHING_SET}"),
        ("=3", f"command line: '=3' does not set anything{NOTHING_SET}"),
        ("a..b=3", f"command line: 'a..b=3' does not set anything{NOTHING_SET}"),
        ("a.=3", f"command line: 'a.=3' does not set anything{NOTHING_SET}"),
        ("", f"command line: '' does not set anything{NOTHING_SET}"),
        ('"a.b=3', f"command line: '\"a.b=3' does not set anything{NOTHING_SET}"),
        (
            "a=!!python/name:os.system",
            "command line: the value of 'a=!!python/name:os.system' is not one YAML value: could not determine a"
            " constructor for the tag 'tag:yaml.org,2002:python/name:os.system'"
            "\n  remove the tag: a recipe contains plain values only",
        ),
        (
            "a=[1, 2",
            "command line: the value of 'a=[1, 2' is not one YAML value: expected ',' or ']', but got '<stream end>'"
            "\n  close the bracket, or add a comma",
        ),
        (f"a{'.a' * 64}=1", f"command line: {'a.' * 20}… is nested more than 64 deep\n  flatten it"),
        (
            "a=b: c",
            "command line: the value of 'a=b: c' is not one YAML value: this is more than one value\n  quote it",
        ),
        (
            "model_id_or_path.x=1",
            "command line: 'model_id_or_path.x=1' sets something inside model_id_or_path, which is 'model'"
            "\n  set it as a whole",
        ),
        (
            "stages.prepare_exports.arn.9=1",
            "command line: 'stages.prepare_exports.arn.9=1' sets something inside stages.prepare_exports.arn, "
            "which is [1, 128]\n  use an index that exists",
        ),
    ],
)
def test_invalid_overrides(recipe, word, message):
    with pytest.raises(RecipeError) as error:
        recipe.override(["backend=CPU", word])
    assert str(error.value) == message
    assert "backend" not in recipe  # all of them or none
    assert recipe.origin("backend") is None


# Schemas

SCHEMA = {
    "type": "object",
    "required": ["model_id_or_path", "stages"],
    "additionalProperties": False,
    "properties": {
        "model_id_or_path": {"type": "string"},
        "backend": {"enum": ["HTP", "CPU"]},
        "stages": {
            "type": "object",
            "properties": {
                "split_model": {
                    "type": "object",
                    "properties": {"num_splits": {"type": "integer", "minimum": 1}},
                    "additionalProperties": False,
                },
                "export": {"anyOf": [{"type": "object", "additionalProperties": False}, {"type": "null"}]},
                "arn": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "integer"}}]},
            },
        },
    },
}


def test_a_recipe_that_matches_its_schema():
    Recipe({"model_id_or_path": "x", "stages": {"arn": (1, 2), "export": None}}, schema=SCHEMA).validate()
    Recipe({"anything": 1}).validate()
    Recipe({"model_id_or_path": Path("x"), "stages": {1: 2}}).validate(SCHEMA)


def test_every_fault_is_named_in_the_order_of_the_file():
    Path("r.yaml").write_text(
        "backend: GPU\nstages:\n  split_model: {num_split: 3, num_splits: 0}\n  export: {x: 1}\n  arn: x\nstagez: {}\n"
    )
    with pytest.raises(ValueError, match="model_id_or_path is missing") as error:
        Recipe.from_file("r.yaml", schema=SCHEMA).validate()
    assert str(error.value).splitlines() == [
        "r.yaml: model_id_or_path is missing",
        "  add it",
        "r.yaml:1: backend must be HTP or CPU, not 'GPU'",
        "  did you mean CPU?",
        "r.yaml:3: stages.split_model.num_split is not a setting of split_model",
        "  did you mean num_splits?",
        "r.yaml:3: stages.split_model.num_splits: 0 is less than the minimum of 1",
        "  change its value",
        "r.yaml:4: stages.export.x is not a setting of export",
        "  its settings: none",
        "r.yaml:5: stages.arn must be an integer or a list, not 'x'",
        "  change its value",
        "r.yaml:6: stagez is not a setting of a recipe",
        "  did you mean stages?",
    ]


def test_a_schema_passed_to_validate_takes_precedence_and_must_be_valid():
    recipe = Recipe({"a": 1}, schema={"required": ["b"]})
    recipe.validate({"required": ["a"]})
    with pytest.raises(ValueError, match=r"^schema: properties\.a\.type: 'nonsense' is not valid"):
        recipe.validate({"properties": {"a": {"type": "nonsense"}}})


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"$ref": "#/$defs/gone"}, "schema: $ref /$defs/gone does not exist\n  use a valid JSON Schema"),
        (
            {"$ref": "#"},
            "schema: a $ref refers to itself, or the recipe is nested too deeply\n  flatten it",
        ),
    ],
)
def test_schemas_with_broken_references(schema, message):
    with pytest.raises(RecipeError) as error:
        Recipe({"a": 1}).validate(schema)
    assert str(error.value) == message


def test_the_second_of_two_overrides_determines_the_origin() -> None:
    recipe = Recipe(stages={"fan": {}})
    recipe.override(["stages.fan={arn: [1], suffix: x}", "stages.fan={arn: [2]}"])
    assert recipe.origin("stages.fan.arn") == "command line"
    assert recipe.origin("stages.fan.suffix") is None
