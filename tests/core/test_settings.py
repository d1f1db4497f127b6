"""The table of settings, its typed form, and what the door refuses."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, get_type_hints

import numpy as np
import pytest

from cptools.core import recipes
from cptools.core.algorithms import ALGORITHMS
from cptools.core.poisons import ATTACKS, attack_settings
from cptools.core.settings import RESERVED, SETTINGS, Setting, Settings, check_value

RECIPE = recipes.pretrain("quick", alg="simclr", dataset="")
ADVERSARIAL = recipes.pretrain("quick", alg="advcl", dataset="")


def resolve(given: Mapping[str, Any], recipe: Settings = RECIPE) -> Settings:
    return recipes.resolve(recipe, given, context="`alg=simclr`")


def test_the_typed_dict_and_the_table_agree() -> None:
    own = {n: s for attack in ATTACKS.own.values() for n, s in attack.own_settings.items()}
    own |= {n: s for alg in ALGORITHMS.own.values() for n, s in alg.own_settings.items()}
    table = SETTINGS | own
    kinds = {n: s.kind if s.kind in (int, float) else str for n, s in table.items()}
    assert get_type_hints(Settings) == kinds
    hints = get_type_hints(recipes.ProbeSettings)
    assert hints.keys() == recipes.PROBE_SETTINGS.keys()
    assert not RESERVED & {*table, *recipes.PROBE_SETTINGS}


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("epochs", 3, 3),
        ("epochs", 3.0, 3),
        ("epochs", np.int64(3), 3),
        ("lr", 1, 1.0),
        ("lr", np.float32(0.5), 0.5),
        ("lr", Fraction(1, 2), 0.5),
        ("optimizer", "sgd", "sgd"),
        ("views", ("flip", "crop", "jitter"), "crop,flip,jitter"),
        ("views", "jitter, crop", "crop,jitter"),
        ("views", (), ""),
        ("adv_epsilon", "3 / 255", "3/255"),
        ("adv_epsilon", Fraction(3, 255), "1/85"),
        ("adv_epsilon", 0.1, "0.1"),
        ("adv_epsilon", np.float64(0.25), "0.25"),
        ("adv_epsilon", 0, "0.0"),
        ("encoder", "vgg19", "vgg19"),
        ("encoder", "timm:vit_tiny_patch16_224", "timm:vit_tiny_patch16_224"),
        ("encoder", "my_package.nets:small", "my_package.nets:small"),
    ],
)
def test_values_of_python_become_the_type_of_the_setting(
    name: str, given: Any, value: object
) -> None:
    found = check_value(SETTINGS[name], given)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rouds": 3}, "`rouds` is no setting of `alg=simclr`; give `epochs`, "),
        ({"epoch": 3}, "`epoch` is no setting of `alg=simclr`; did you mean `epochs`?"),
        ({"rounds": 3}, "`rounds` does not apply to `alg=simclr`; leave it out"),
        ({"epochs": "3"}, "`epochs`: '3' is not a whole number from 1"),
        ({"epochs": True}, "`epochs`: True is not a whole number from 1"),
        ({"epochs": 2.5}, "`epochs`: 2.5 is not a whole number from 1"),
        ({"epochs": 0}, "`epochs`: 0 is not a whole number from 1"),
        ({"epochs": [3]}, "`epochs`: [3] is not a whole number from 1"),
        ({"lr": "0.1"}, "`lr`: '0.1' is not a number from 0"),
        ({"lr": float("nan")}, "`lr`: nan is not a number from 0"),
        ({"lr": float("inf")}, "`lr`: inf is not a number from 0"),
        ({"lr": 10**400}, "is not a number from 0"),
        ({"lr": False}, "`lr`: False is not a number from 0"),
        ({"min_lr": 1.5}, "`min_lr`: 1.5 is not a number from 0 to 1"),
        ({"optimizer": "adam"}, "`optimizer`: 'adam' is not one of sgd, adamw, lars"),
        ({"optimizer": ("sgd",)}, "`optimizer`: ('sgd',) is not a word"),
        ({"optimizer": "sgd,adamw"}, "'sgd,adamw' is not one of"),
        ({"views": ("crop", "spin")}, "`views`: 'spin' is not one of crop, flip"),
        ({"views": 3}, "`views`: 3 is not words"),
        ({"adv_epsilon": 8}, "`adv_epsilon`: 8 is not a number from 0 to 1, such as 8/255"),
        ({"adv_epsilon": "8/0"}, "'8/0' is not a number from 0 to 1"),
        ({"adv_epsilon": float("nan")}, "nan is not a number from 0 to 1"),
        ({"adv_epsilon": True}, "True is not a number from 0 to 1"),
        ({"encoder": "resnet81"}, "`encoder`: 'resnet81' is not one of resnet18, "),
        ({"encoder": "timm:hf-hub:someone/net"}, "is not one of resnet18"),
        ({"encoder": "timm:/etc/net"}, "is not one of resnet18"),
        ({"encoder": "nets.py:make"}, "`width` does not apply"),
        ({"encoder": "a b:c"}, "is not one of resnet18"),
    ],
)
def test_what_the_door_refuses(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        resolve({"width": 8, **given}, ADVERSARIAL if "adv_epsilon" in given else RECIPE)
    assert message in str(caught.value)
    assert "--" not in str(caught.value)


def test_the_nearest_name_is_of_what_applies() -> None:
    recipe = ATTACKS["simclr"].settings("quick", "class")
    with pytest.raises(ValueError, match=r"`rouds` is no setting of .*; did you mean `rounds`"):
        recipes.resolve(recipe, {"rouds": 1}, context="`alg=simclr`", table=attack_settings())


def test_an_encoder_from_outside_has_no_width() -> None:
    assert resolve({"encoder": "timm:resnet18"})["width"] == 1
    assert resolve({"encoder": "timm:resnet18", "width": 1})["width"] == 1
    with pytest.raises(ValueError, match="`width` does not apply to `encoder=timm:resnet18`"):
        resolve({"encoder": "timm:resnet18", "width": 64})


def test_the_recipe_is_not_changed() -> None:
    before = RECIPE.copy()
    assert resolve({"lr": 1})["lr"] == 1.0
    assert before == RECIPE


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: recipes.pretrain("papr", alg="simclr", dataset=""),
            "`recipe=papr` is no recipe; did you mean `recipe=paper`",
        ),
        (
            lambda: recipes.pretrain("quick", alg="simclrr", dataset=""),
            "'simclrr' is no algorithm; did you mean simclr",
        ),
        (lambda: recipes.pretrain("quick", alg=None, dataset=""), "None is no algorithm; give"),  # type: ignore[arg-type]
        (lambda: recipes.probe("papr", method=None, dataset=""), "`recipe=papr` is no"),
        (
            lambda: recipes.probe("quick", method="knnn", dataset=""),
            "`method=knnn` is no method; did you mean `method=knn`",
        ),
        (lambda: ATTACKS.find("lspp"), "'lspp' is no attack; did you mean lsp"),
        (lambda: ATTACKS["simclr"].settings("papr", "class"), "`recipe=papr` is no recipe"),
        (
            lambda: ATTACKS["simclr"].settings("quick", "klass"),
            "the attack has no `mode=klass`; did you mean `mode=class`",
        ),
        (lambda: ATTACKS["lsp"].settings("quick", "class"), "no `mode=class`; give `mode=sample`"),
    ],
)
def test_unknown_names_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        call()
    assert message in str(caught.value)


def test_what_stands_for_a_value() -> None:
    assert Setting(int, "").placeholder == "N"
    assert Setting(float, "").placeholder == Setting(Fraction, "").placeholder == "X"
    assert Setting(("a", "b"), "").placeholder == "a|b"
    assert Setting(("a", "b"), "", several=True).placeholder == "a,b"
    assert SETTINGS["encoder"].placeholder.endswith("|package.module:function|timm:NAME")
