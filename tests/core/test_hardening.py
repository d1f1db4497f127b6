"""Recipes that withstand poison: what each changes, and nothing else; what it does not apply to."""

import pytest

from cptools.core import recipes
from cptools.core.hardening import HARDENING


def changes(recipe, alg="simclr"):
    base = recipes.pretrain(recipe.partition("+")[0], alg=alg, dataset="shapes")
    values = recipes.pretrain(recipe, alg=alg, dataset="shapes")
    assert values.keys() == base.keys()
    return {name: value for name, value in values.items() if value != base[name]}


@pytest.mark.parametrize(
    ("recipe", "alg", "expected"),
    [
        ("quick+no-crop", "simclr", {"views": "flip,jitter,gray"}),
        ("paper+no-crop", "cmc", {"views": "flip"}),
        ("quick+temperature", "moco", {"temperature": 0.1}),
        ("quick+early-stopping", "simclr", {"epochs": 10}),
        ("paper+early-stopping", "simclr", {"epochs": 200, "warmup_epochs": 2}),
        (
            "quick+no-crop+temperature+early-stopping",
            "simclr",
            {"views": "flip,jitter,gray", "temperature": 0.1, "epochs": 10},
        ),
    ],
)
def test_it_changes_what_it_says(recipe, alg, expected):
    assert changes(recipe, alg) == expected


@pytest.mark.parametrize("name", HARDENING)
def test_it_changes_something_of_simclr(name):
    assert changes(f"quick+{name}")


@pytest.mark.parametrize(
    ("recipe", "alg", "told"),
    [
        ("quick+no-crop", "supervised", "does not apply to `alg=supervised`: there are no crops;"),
        (
            "quick+temperature",
            "byol",
            "does not apply to `alg=byol`: there is no temperature above",
        ),
        ("quick+temperature", "cmc", "there is no temperature above 0.1; leave temperature out"),
        ("quick+no-crops", "simclr", "has no no-crops; did you mean `recipe=quick[+]no-crop`?"),
        ("quick+no-crop+no-crop", "simclr", "is twice in it;"),
        ("fast+no-crop", "simclr", "`recipe=fast` is no recipe;"),
        ("quick+", "simclr", "has no ; give"),
    ],
)
def test_what_does_not_apply_is_refused(recipe, alg, told):
    with pytest.raises(ValueError, match=told):
        recipes.pretrain(recipe, alg=alg, dataset="shapes")
