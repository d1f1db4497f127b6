"""Recipes: the papers' numbers, what the user typed, and that each of them can be built."""

import subprocess
import sys
from fractions import Fraction
from typing import Any

import pytest
import torch

from cptools.core import recipes
from cptools.core.algorithms import ALGORITHMS
from cptools.core.build import ALGORITHM_OPTIONS, build_learner, build_views
from cptools.core.encoders import ENCODERS
from cptools.core.epsilon import parse_epsilon
from cptools.core.poisons import ATTACKS, attack_settings
from cptools.core.settings import SETTINGS, Setting, read_value

# CODE is kaiwenzha/contrastive-poisoning@628838c, the official code of CP.
# CP table 9 and appendix B; learning rates that CODE:main.py forces; 0.1^3 of its cosine.
TRAINING: dict[str, Any] = {
    "encoder": "resnet18", "width": 64, "batch_size": 512,
    "optimizer": "sgd", "momentum": 0.9, "weight_decay": 1e-4, "min_lr": 0.1**3,
}  # fmt: skip
# Heads, temperatures, momentum: CODE:cl_algs.py. Loss scale: what CODE's losses come to on the
# four GPUs: SimCLR 0.5 / 0.07 / 4, MoCo 0.2 / 0.07, BYOL a quarter (-cos/2 for 2 (2 - 2 cos)).
ALGORITHM: dict[str, dict[str, Any]] = {
    "simclr": {
        "lr": 0.5, "temperature": 0.5, "head_hidden": 512, "head_dim": 128,
        "loss_scale": 0.5 / 0.07 / 4, "loss": "nt-xent",
    },
    "moco": {
        "lr": 0.3, "temperature": 0.2, "head_hidden": 512, "head_dim": 128, "ema": 0.99,
        "queue_size": 4096, "loss_scale": 0.2 / 0.07, "loss": "infonce",
    },
    "byol": {"lr": 1.0, "head_hidden": 4096, "head_dim": 256, "ema": 0.999, "loss_scale": 0.25},
}  # fmt: skip
ADVERSARIAL = {name: value for name, value in ALGORITHM["simclr"].items() if name != "loss"}
# Views: CP appendix A; the defaults of torchvision 0.9 in CODE.
VIEWS = {
    "crop_area": 0.2, "flip_prob": 0.5, "jitter": 1.0, "jitter_prob": 0.8, "gray_prob": 0.2,
    "pad": 0, "views": "crop,flip,jitter,gray", "share_views": "",
    "blur_prob": 0.5,  # not in use: SimCLR's, on ImageNet
}  # fmt: skip
# CODE:README.md; the loaders of 50,000 images have 97 batches of 512.
POISON = {
    "class": {"rounds": 1000, "model_steps": 20, "noise_steps": 20, "pgd_steps": 1},
    "sample": {"rounds": 200, "model_steps": 97, "noise_steps": 97, "pgd_steps": 5},
}


def numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {k: pytest.approx(v, rel=3e-4) if isinstance(v, float) else v for k, v in values.items()}


@pytest.mark.parametrize("mode", POISON)
@pytest.mark.parametrize("alg", ALGORITHM)
def test_the_papers_attacker(alg: str, mode: str) -> None:
    # Step epsilon / 10: CP appendix B.3. CODE:main.py forces one step of 0.02 epsilon for BYOL
    # where noise is sample-wise.
    # Batch norm saw a quarter of the batch: the attack ran on four GPUs with syncBN off.
    expected = {**VIEWS, **TRAINING, **ALGORITHM[alg], **POISON[mode], "step_size": 0.1}
    if (alg, mode) == ("byol", "sample"):
        expected |= {"pgd_steps": 1, "step_size": 0.02}
    expected |= {"bn_groups": 4, "branch": "dual", "survive": ""}
    assert ATTACKS[alg].settings("paper", mode) == numbers(expected)


@pytest.mark.parametrize("alg", ALGORITHM)
def test_the_papers_victim(alg: str) -> None:
    # CODE: 1000 epochs; batch 512 > 256 means ten epochs of warm-up from 0.01; synchronized BN.
    schedule = {"epochs": 1000, "warmup_epochs": 10, "warmup_lr": 0.01, "bn_groups": 1}
    expected = {**VIEWS, **TRAINING, **ALGORITHM[alg], **schedule}
    assert recipes.pretrain("paper", alg=alg, dataset="cifar10") == numbers(expected)
    # CP: 200 epochs of batch 128 on ImageNet-100, too small a batch for the warm-up.
    expected |= {"epochs": 200, "batch_size": 128, "warmup_epochs": 0}
    assert recipes.pretrain("paper", alg=alg, dataset="imagenet-100") == numbers(expected)


@pytest.mark.parametrize("recipe", ["quick", "paper"])
def test_cmc_leaves_color_as_it_is_in_training_and_in_the_attack(recipe: str) -> None:
    victim = recipes.pretrain(recipe, alg="cmc", dataset="cifar10")
    attacker = ATTACKS["cmc"].settings(recipe, "class")
    assert victim["views"] == attacker["views"] == "crop,flip"
    assert recipes.pretrain(recipe, alg="simclr", dataset="cifar10")["views"] == (
        "crop,flip,jitter,gray"
    )


def test_adversarial_training_is_that_of_the_official_codes() -> None:
    # LijieFan/AdvCL:pretraining_advCL.py, whose loss is 0.5 / 0.07 NT-Xent + 0.2 cross-entropy.
    schedule = {"epochs": 1000, "warmup_epochs": 10, "warmup_lr": 0.01, "bn_groups": 1}
    expected = VIEWS | TRAINING | ADVERSARIAL | schedule
    expected |= {
        "adv_epsilon": "8/255", "adv_steps": 5, "adv_step_size": 2 / 8,
        "loss_scale": 0.5 / 0.07, "ce_weight": 0.2 / (0.5 / 0.07),
    }  # fmt: skip
    assert recipes.pretrain("paper", alg="advcl", dataset="cifar10") == numbers(expected)
    # Kim-Minseon/RoCL:src/argument.py (7 steps of 0.007), in CP's SimCLR.
    expected = VIEWS | TRAINING | ADVERSARIAL | schedule
    expected |= {"adv_epsilon": "8/255", "adv_steps": 7, "adv_step_size": 0.007 * 255 / 8}
    values = recipes.pretrain("paper", alg="advsimclr", dataset="cifar10")
    assert values.pop("adv_step_size") == pytest.approx(expected.pop("adv_step_size"), rel=1e-3)
    assert values == numbers(expected)


def test_the_papers_probe() -> None:
    # CODE:evaluation.py and CP appendix B.2: lr 1.0, ImageNet-100 10.
    expected = {"method": "sgd", "epochs": 100, "batch_size": 512, "lr": 1.0, "select": "last"}
    assert recipes.probe("paper", method=None, dataset="cifar10") == expected
    expected["lr"] = 10.0
    assert recipes.probe("paper", method=None, dataset="imagenet-100") == expected
    assert recipes.probe("quick", method=None, dataset="shapes")["method"] == "lbfgs"
    assert recipes.probe("quick", method="knn", dataset="shapes") == {
        "method": "knn", "k": 200, "temperature": 0.1
    }  # fmt: skip


def test_what_the_user_typed_wins() -> None:
    recipe = ATTACKS["moco"].settings("paper", "class")
    given = dict.fromkeys(recipe) | {"lr": 0.0, "queue_size": 7, "temperature": None}
    values = recipes.resolve(recipe, given, context="--alg moco")
    assert values == {**recipe, "lr": 0.0, "queue_size": 7}
    assert recipe["queue_size"] == 4096


@pytest.mark.parametrize(
    ("alg", "option", "name"),
    [
        ("simclr", "queue_size", "`queue_size`"),
        ("simclr", "ema", "`ema`"),
        ("byol", "temperature", "`temperature`"),
        ("byol", "queue_size", "`queue_size`"),
    ],
)
@pytest.mark.parametrize("recipe", ["quick", "paper"])
def test_an_option_that_does_not_apply_is_named(
    recipe: str, alg: str, option: str, name: str
) -> None:
    for values in (
        ATTACKS[alg].settings(recipe, "class"),
        recipes.pretrain(recipe, alg=alg, dataset="shapes"),
    ):
        with pytest.raises(ValueError, match=f"^{name} does not apply to `alg={alg}`; leave it"):
            recipes.resolve(values, {option: 1}, context=f"`alg={alg}`")
        assert recipes.resolve(values, {option: None}, context="") == values


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"blur_prob": 1.0}, "`blur_prob` needs blur; give `views=crop,flip,jitter,gray,blur`"),
        ({"views": "flip", "crop_area": 0.5}, "`crop_area` needs crop; give `views=flip,crop`"),
        ({"views": "crop", "jitter": 2.0}, "`jitter` needs jitter; give `views=crop,jitter`"),
        ({"views": "crop", "share_views": "crop,jitter"}, "`share_views=jitter` is not among"),
        ({"loss": "hinge", "temperature": 0.1}, "`temperature` does not apply to `loss=hinge`"),
    ],
)
def test_what_would_change_nothing_is_refused(typed: dict[str, Any], message: str) -> None:
    recipe = recipes.pretrain("quick", alg="simclr", dataset="shapes")
    with pytest.raises(ValueError, match=message):
        recipes.resolve(recipe, typed, context="--alg simclr")
    assert recipes.resolve(recipe, recipe, context="") == recipe, "as a history tells it"
    helped = {"views": "crop,flip,jitter,gray,blur", "loss": "nt-xent"}
    assert recipes.resolve(recipe, typed | helped, context="") == {**recipe, **typed, **helped}


def test_lists_of_options_are_complete() -> None:
    for attack in ATTACKS.values():
        for recipe in ("quick", "paper"):
            for mode in attack.modes:
                assert set(attack.settings(recipe, mode)) <= set(attack_settings())
    for alg in ALGORITHMS:
        for recipe in ("quick", "paper"):
            for dataset in ("shapes", "imagenet-100"):
                values = recipes.pretrain(recipe, alg=alg, dataset=dataset)
                assert set(values) <= set(recipes.pretrain_settings())
    for method in recipes.PROBE_METHODS:
        values = recipes.probe("quick", method=method, dataset="")
        assert set(values) <= set(recipes.PROBE_SETTINGS)
    assert set(recipes.pretrain_settings()) <= set(SETTINGS)


def test_recipes_do_not_share_their_values() -> None:
    ATTACKS["simclr"].settings("quick", "class")["lr"] = 7
    recipes.pretrain("paper", alg="byol", dataset="imagenet")["lr"] = 7
    recipes.probe("paper", method=None, dataset="imagenet")["lr"] = 7
    assert ATTACKS["simclr"].settings("quick", "class")["lr"] != 7
    assert recipes.pretrain("paper", alg="byol", dataset="shapes")["lr"] == 1.0
    assert recipes.probe("paper", method=None, dataset="shapes")["lr"] == 1.0


@pytest.mark.parametrize("recipe", ["quick", "paper"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_every_recipe_builds(alg: str, recipe: str) -> None:
    attacks = [ATTACKS[alg].settings(recipe, "sample")] if alg in ATTACKS else []
    for values in (*attacks, recipes.pretrain(recipe, alg=alg, dataset="shapes")):
        values["width"] = min(values["width"], 6)
        mean, std, several = (0.5,) * 3, (0.25,) * 3, ALGORITHMS[alg].is_clustered
        learner = build_learner(
            alg, values, num_classes=(3, 2) if several else 3, mean=mean, std=std,
            device=torch.device("cpu"), bf16=False, seed=0, size=32,
        )  # fmt: skip
        views = build_views(values, size=32, mean=mean, std=std)
        assert (learner.lr, learner.loss_scale) == (values["lr"], values["loss_scale"])
        for option, attribute in ALGORITHM_OPTIONS.items():
            if option in values.keys() - {"loss"} and hasattr(learner.algorithm, attribute):
                assert getattr(learner.algorithm, attribute) == values[option]
        x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        algorithm = learner.algorithm.train()
        drawn = algorithm.draw(x, views, torch.Generator().manual_seed(1))
        assert len(drawn) == getattr(algorithm, "draws", algorithm.num_views)
        labels = torch.arange(8).view(8, 1) % torch.tensor([3, 2])
        loss = algorithm.loss(*drawn, labels=labels if several else labels[:, 0], dual=True)
        assert bool(loss.isfinite())
        with torch.no_grad():
            dim = values.get("head_dim", algorithm.encoder.feature_dim)
            both = 2 if alg == "cmc" else 1  # of lightness and of color
            assert algorithm.embed(drawn[0]).shape == (8, both * dim)


def test_recipes_need_neither_torch_nor_numpy() -> None:
    modules = "cptools.core.recipes, cptools.core.poisons, cptools.core.settings"
    code = f"import sys, {modules}; sys.exit(bool({{'torch', 'numpy'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_encoder_comes_at_its_own_width() -> None:
    recipe = recipes.pretrain("quick", alg="simclr", dataset="shapes")
    values = recipes.resolve(recipe, {"encoder": "mobilenetv2"}, context="")
    assert values["width"] == ENCODERS["mobilenetv2"].width == 32
    assert recipes.resolve(recipe, {"encoder": "vgg19", "width": 5}, context="")["width"] == 5
    assert recipes.resolve(recipe, {}, context="")["width"] == recipe["width"]


EVERY_RECIPE = [
    pytest.param(attack.settings(recipe, mode), attack_settings(), id=f"{name}-{mode}-{recipe}")
    for name, attack in ATTACKS.items()
    for mode in attack.modes
    for recipe in ("quick", "paper")
] + [
    pytest.param(recipes.pretrain(recipe, alg=alg, dataset=""), SETTINGS, id=f"{alg}-{recipe}")
    for alg in ALGORITHMS
    for recipe in ("quick", "paper")
]


@pytest.mark.parametrize(("values", "settings"), EVERY_RECIPE)
def test_every_value_is_one_that_its_setting_allows(
    values: dict[str, Any], settings: dict[str, Setting]
) -> None:
    for name, value in values.items():
        setting = settings[name]
        if setting.words:
            assert read_value(setting, value) == value
            continue
        if setting.kind is Fraction:
            value = parse_epsilon(value)
        assert type(value) is setting.kind, name
        assert setting.low is None or value >= setting.low, name
        assert setting.high is None or value <= setting.high, name


def test_attacks_agree_on_their_modes_and_on_what_they_set() -> None:
    for attack in ATTACKS.values():
        assert set(attack.modes) == set(attack.quick) == set(attack.paper)
        for mode in attack.modes:
            assert attack.quick[mode].keys() == attack.paper[mode].keys()
        assert not attack.own_settings.keys() & SETTINGS.keys()
        assert attack.own_settings.keys() <= attack.quick[attack.modes[0]].keys()
