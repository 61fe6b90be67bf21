from __future__ import annotations

import pytest

from qairt.errors import RecipeError
from qairt.evaluate import metric as metric_module
from qairt.evaluate.choice import chosen_metrics, recipe_metrics
from qairt.evaluate.metric import Metric, register_metric
from qairt.evaluate.registry import registered_metrics
from qairt.recipe import Recipe

LISTED = [{"name": "perplexity", "display_name": "ppl", "chunks": 4}, {"name": "top1_agreement"}]


def test_perplexity_is_the_default():
    (metric,) = chosen_metrics(Recipe(), [])
    assert (metric.name, metric.title, metric.dataset, metric.chunks) == ("perplexity", "perplexity", None, None)


def test_metrics_by_display_name_or_name():
    def titles(*names):
        return [metric.title for metric in chosen_metrics(Recipe(), LISTED, names)]

    assert titles() == ["ppl", "top1_agreement"]
    assert titles("ppl") == titles("perplexity") == ["ppl"]
    assert titles("kl_divergence", "ppl") == ["kl_divergence", "ppl"]


def test_dataset_and_chunks_replace_those_of_text_metrics():
    questions = {"name": "generation", "prompts": [{"prompt": "2+2", "expected": "4"}]}
    text, _, other = chosen_metrics(Recipe(), [*LISTED, questions], dataset="a.txt", chunks=2)
    assert (text.dataset, text.chunks) == ("a.txt", 2)
    assert other.prompts[0].expected == "4"
    with pytest.raises(RecipeError, match=r"^--chunks: none of the metrics reads text: generation"):
        chosen_metrics(Recipe(), [questions], chunks=2)


def faults(tmp_path, entries):
    path = tmp_path / "recipe.yaml"
    path.write_text("evaluator:\n  metrics:\n" + "".join(f"    - {entry}\n" for entry in entries))
    recipe = Recipe.from_file(path)
    with pytest.raises(RecipeError) as raised:
        recipe_metrics(recipe, recipe["evaluator"]["metrics"])
    return str(raised.value).replace(str(path), "recipe.yaml")


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            "{name: perplexty}",
            "recipe.yaml:3: there is no metric perplexty\n  did you mean perplexity? the metrics are arc_",
        ),
        ("{chunks: 3}", "recipe.yaml:3: this metric has no name\n  set `name:` to one of arc_challenge, "),
        (
            "{name: perplexity, chunk: 3}",
            "recipe.yaml:3: evaluator.metrics.0.chunk is not an argument of perplexity\n  did you mean chunks? "
            "perplexity takes display_name, dataset, subset, split, column, chunks",
        ),
        (
            "{name: kl_divergence, speed: 3}",
            "recipe.yaml:3: evaluator.metrics.0.speed is not an argument of kl_divergence\n  kl_divergence takes "
            "display_name, dataset, subset, split, column, chunks",
        ),
        ("{name: perplexity, chunks: 0}", "recipe.yaml:3: evaluator.metrics.0.chunks: input should be greater than 0"),
        ("{name: generation}", "recipe.yaml:3: evaluator.metrics.0.prompts is missing\n  add it; generation takes "),
    ],
)
def test_faults_have_their_line(entry, said, tmp_path):
    assert faults(tmp_path, [entry]).startswith(said)


def test_all_faults_at_once(tmp_path):
    said = faults(tmp_path, ["{name: perplexity}", "{name: perplexity}", "{name: nothing_like_it}"])
    assert "recipe.yaml:4: two metrics are named perplexity\n  give one of them a display_name" in said
    assert "recipe.yaml:5: there is no metric nothing_like_it\n  the metrics are arc_challenge, " in said


def test_a_users_own_metric(monkeypatch):
    monkeypatch.setattr(metric_module, "_registry", dict(registered_metrics()))

    @register_metric
    class Constant(Metric):
        name = "constant"

        value: float = 1.0

        def measure(self, subject):
            return self.value

    (found,) = recipe_metrics(Recipe(), [{"name": "constant", "value": 3.5}])
    assert isinstance(found, Constant)
    assert found.measure(None) == 3.5
