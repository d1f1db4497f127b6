"""From recipe values to views, encoders, algorithms, learners."""

from typing import Any

import pytest
import torch
from torch import nn

from cptools.core import recipes
from cptools.core.algorithms import ALGORITHMS
from cptools.core.algorithms.objectives import OF_VIEWS, WITH_QUEUE
from cptools.core.build import build_algorithm, build_encoder, build_learner, build_views
from cptools.core.encoders import ENCODERS
from cptools.core.lazy import load
from cptools.core.views import Views

MEAN, STD = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
CLASSES: dict[str, Any] = {"advcl": (2, 10)}  # of each labeling


def values_of(alg: str, **changes: Any) -> dict[str, Any]:
    return {**recipes.pretrain("quick", alg=alg, dataset="shapes"), **changes}


def test_views_hold_the_values() -> None:
    values = {
        "crop_area": 0.3, "flip_prob": 0.1, "jitter": 0.5, "jitter_prob": 0.7, "gray_prob": 0.6,
        "pad": 3, "blur_prob": 0.2, "views": "crop,flip,jitter,gray,blur", "share_views": "flip",
    }  # fmt: skip
    views = build_views(values, size=9, mean=MEAN, std=STD)
    assert views == Views(
        size=9, mean=MEAN, std=STD, scale=(0.3, 1.0), flip=0.1, jitter=(0.2, 0.2, 0.2, 0.05),
        jitter_p=0.7, gray_p=0.6, pad=3, blur_p=0.2, shared=("flip",),
    )  # fmt: skip


def test_the_papers_views_are_the_default_ones() -> None:
    assert build_views(recipes.VIEWS, size=32, mean=MEAN, std=STD) == Views(32, MEAN, STD)


def test_hue_beyond_half_a_circle_is_refused() -> None:
    build_views({**recipes.VIEWS, "jitter": 5.0}, size=32, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match=r"`jitter` 5\.1 turns hue .* at most 5"):
        build_views({**recipes.VIEWS, "jitter": 5.1}, size=32, mean=MEAN, std=STD)
    with pytest.raises(ValueError, match="jitter must not be negative"):
        build_views({**recipes.VIEWS, "jitter": -1.0}, size=32, mean=MEAN, std=STD)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_by_name(name: str) -> None:
    encoder = build_encoder(name, ENCODERS[name].width, size=32)
    assert encoder.feature_dim == {
        "resnet18": 512, "resnet50": 2048, "vgg19": 512, "densenet121": 1024,
        "mobilenetv2": 1280, "wideresnet28": 640, "convnext-tiny": 768, "vit-tiny": 192,
        "vit-small": 384, "resnet10": 64,
    }[name]  # fmt: skip


@pytest.mark.parametrize("alg", ["cmc", "supervised"])
def test_one_view_shares_nothing(alg: str) -> None:
    values = values_of(alg, share_views="crop")
    with pytest.raises(ValueError, match=f"`share_views` does not apply to `alg={alg}`"):
        build_algorithm(alg, values, num_classes=2, mean=MEAN, std=STD, seed=0)


@pytest.mark.parametrize("alg", [alg for alg in ALGORITHMS if alg != "mae"])
def test_options_reach_the_algorithm(alg: str) -> None:
    changes = {
        "head_hidden": 12, "head_dim": 10, "bn_groups": 3, "width": 4, "temperature": 0.3,
        "ema": 0.7, "queue_size": 5, "adv_epsilon": "3/255", "adv_steps": 2, "adv_step_size": 0.4,
        "ce_weight": 0.6, "loss": "hinge", "redundancy_weight": 0.2, "variance_weight": 3.0,
        "prototypes": 9, "local_views": 3, "draws": 4, "intensity": 0.3,
    }  # fmt: skip
    values = values_of(alg)
    values |= {k: v for k, v in changes.items() if k in values}
    algorithm: Any = build_algorithm(
        alg, values, num_classes=CLASSES.get(alg, 6), mean=MEAN, std=STD, seed=0
    )
    assert type(algorithm) is load(ALGORITHMS[alg].build)
    assert algorithm.encoder.feature_dim == 32
    is_classifier = alg in ("supervised", "advsupervised", "ueraser")
    part = algorithm.head["classifier" if is_classifier else "projector"]
    linear = [m for m in part.modules() if isinstance(m, nn.Linear)]
    shapes = {
        "supervised": [(32, 6)],
        "advsupervised": [(32, 6)],
        "ueraser": [(32, 6)],
        "simsiam": [(32, 12), (12, 12), (12, 10)],
        "cmc": [(16, 12), (12, 10)],  # of one of its two networks
        "barlow-twins": [(32, 12), (12, 12), (12, 10)],
        "vicreg": [(32, 12), (12, 12), (12, 10)],
        "nnclr": [(32, 12), (12, 12), (12, 10)],
        "dino": [(32, 12), (12, 12), (12, 10)],
    }
    assert [(m.in_features, m.out_features) for m in linear] == shapes.get(
        alg, [(32, 12), (12, 10)]
    )
    assert algorithm.bn_groups == 3
    assert getattr(algorithm, "temperature", 0.3) == 0.3
    assert getattr(algorithm, "momentum", 0.7) == 0.7
    if alg in ("simclr", "moco"):
        assert algorithm.objective is {"simclr": OF_VIEWS, "moco": WITH_QUEUE}[alg]["hinge"]
    if alg in ("moco", "nnclr"):
        assert algorithm.queue.shape == (5, 10)
    assert getattr(algorithm, "redundancy_weight", 0.2) == 0.2
    assert getattr(algorithm, "variance_weight", 3.0) == 3.0
    assert algorithm.has_momentum is (alg in ("moco", "moco-v3", "byol", "dino"))
    assert algorithm.num_views == {
        "supervised": 1, "ueraser": 1, "cmc": 1, "advsupervised": 3, "advsimclr": 3, "vespr": 3,
        "advcl": 5, "dino": 5, "swav": 5,
    }.get(alg, 2)  # fmt: skip
    if alg in ("dino", "swav"):
        assert algorithm.head["prototypes"].weight.shape == (9, 10)
    if alg == "ueraser":
        assert (algorithm.draws, algorithm.intensity) == (4, 0.3)
    if alg in ("advsupervised", "advsimclr", "advcl", "vespr"):
        attack = algorithm.attack
        assert (attack.mean, attack.std) == (MEAN, STD)
        assert (attack.epsilon, attack.steps, attack.step_size) == (3 / 255, 2, 0.4)
    if alg in ("advcl", "vespr"):
        assert algorithm.ce_weight == 0.6
    if alg == "advcl":
        assert [len(head.weight) for head in algorithm.head["classifiers"]] == [2, 10]


def test_options_reach_the_masked_autoencoder() -> None:
    values = values_of("mae", width=6, mask_ratio=0.5, decoder_width=32, decoder_layers=3)
    algorithm: Any = build_algorithm(
        "mae", values, num_classes=2, mean=MEAN, std=STD, seed=0, size=16
    )
    assert (algorithm.encoder.feature_dim, algorithm.visible, algorithm.num_views) == (6, 8, 3)
    decoder = algorithm.head["decoder"]
    assert (len(decoder.layers), decoder.embed.weight.shape) == (3, (32, 6))
    with pytest.raises(ValueError, match="mae hides patches, which this encoder does not have; gi"):
        build_algorithm(
            "mae", values | {"encoder": "resnet10"}, num_classes=2, mean=MEAN, std=STD, seed=0
        )


def test_a_loss_that_an_algorithm_does_not_have() -> None:
    values = values_of("moco", loss="nt-xent")
    with pytest.raises(ValueError, match=r"the loss nt-xent does not apply here; give infonce, h"):
        build_algorithm("moco", values, num_classes=3, mean=MEAN, std=STD, seed=0)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_weights_are_the_seeds(alg: str) -> None:
    states = []
    for global_seed, seed in ((0, 0), (1, 0), (0, 1)):
        torch.manual_seed(global_seed)
        algorithm = build_algorithm(
            alg, values_of(alg), num_classes=CLASSES.get(alg, 3), mean=MEAN, std=STD, seed=seed,
            size=32,
        )  # fmt: skip
        states.append(algorithm.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])
    first = next(name for name in states[0] if name.endswith(("conv1.weight", "conv_proj.weight")))
    assert not torch.equal(states[0][first], states[2][first])


def test_learner_holds_the_values() -> None:
    values = values_of("moco", lr=0.3, min_lr=0.2, loss_scale=2.5, optimizer="sgd", momentum=0.8,
                       weight_decay=0.01)  # fmt: skip
    learner = build_learner(
        "moco",
        values,
        num_classes=3,
        mean=MEAN,
        std=STD,
        device=torch.device("cpu"),
        bf16=True,
        seed=0,
    )
    assert (learner.lr, learner.min_lr, learner.loss_scale) == (0.3, 0.2, 2.5)
    assert learner.bf16 is True
    (group,) = learner.optimizer.param_groups
    assert isinstance(learner.optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.3, 0.8, 0.01)


def test_load() -> None:
    assert load("fractions:Fraction")(1, 2) == 0.5
    with pytest.raises(ModuleNotFoundError):
        load("no_such_module_here:x")
