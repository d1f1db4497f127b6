"""What a Python caller can get wrong: each a `ValueError` where it enters, with the remedy."""

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cptools.core import recipes
from cptools.core.algorithms.adversarial import PGD
from cptools.core.build import build_learner
from cptools.core.checks import to_float
from cptools.core.coresets.chance import balanced
from cptools.core.coresets.embeddings import image_embeddings
from cptools.core.coresets.ranked import sas_topk
from cptools.core.coresets.sas import sas
from cptools.core.defenses.mix import cutmix, mixup
from cptools.core.defenses.reduce import bit_depth, grayscale, jpeg
from cptools.core.device import choose_bf16, choose_device
from cptools.core.epsilon import levels, parse_epsilon
from cptools.core.evaluation.audit import audit
from cptools.core.evaluation.clusters import k_means
from cptools.core.evaluation.distances import view_distances
from cptools.core.evaluation.probe import SGDProbe, features, knn
from cptools.core.evaluation.separability import separability
from cptools.core.perturbations.steps import perturb
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.adversarial import adversarial
from cptools.core.poisons.base import Problem, rows_of
from cptools.core.poisons.budget import check_bound, poison_uint8
from cptools.core.poisons.budget import perturb as poison
from cptools.core.poisons.contrastive import Alternation, contrastive
from cptools.core.poisons.lsp import lsp
from cptools.core.random import stream
from cptools.core.training import Learner, Pretraining
from cptools.core.views import Views

NUM, SIDE, CLASSES = 6, 8, 3
IMAGES = torch.randint(
    256, (NUM, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(5), dtype=torch.uint8
)
LABELS = torch.arange(NUM) % CLASSES
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
VIEWS = Views(SIDE, MEAN, STD)
FLOATS = IMAGES / 255
BAD_LABELS = [
    (LABELS.float(), "expected labels as int64"),
    (LABELS.int(), "expected labels as int64"),
    (LABELS[:-1], "one an image"),
    (LABELS[:, None, None], "one an image"),
    (LABELS.tolist(), "as a torch.Tensor, got list"),
    (LABELS - 1, "got -1 to 1"),
    (LABELS + 1, "expected labels from 0 to 2, got 1 to 3"),
]


def problem(**changes: Any) -> Problem:
    fields = {
        "images": IMAGES, "labels": LABELS, "num_classes": CLASSES, "mean": MEAN, "std": STD,
        "mode": "class", "epsilon": "8/255",
    }  # fmt: skip
    return Problem(**{**fields, **changes})


def settings(alg: str, mode: str) -> dict[str, Any]:
    return {**ATTACKS[alg].settings("quick", mode), "width": 2, "batch_size": 4}


def learner(alg: str = "supervised", **changes: Any) -> Learner:
    values = recipes.pretrain("quick", alg=alg, dataset="") | {"width": 2} | changes
    return build_learner(
        alg, values, num_classes=CLASSES, mean=MEAN, std=STD, device=torch.device("cpu"),
        bf16=False, seed=0,
    )  # fmt: skip


def pretraining(alg: str = "supervised", **changes: Any) -> Pretraining:
    options = {
        "images": IMAGES, "labels": LABELS, "learner": learner(alg), "views": VIEWS, "epochs": 1,
        "batch_size": 4, **changes,
    }  # fmt: skip
    return Pretraining(**options)


class Flat(nn.Module):
    """An encoder: every pixel a feature."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


# Images and labels.


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.int64])
def test_to_float_takes_bytes_alone_and_leaves_what_it_was_given(dtype: torch.dtype) -> None:
    given = (IMAGES / 255).to(dtype) if dtype.is_floating_point else IMAGES.to(dtype)
    before = given.clone()
    with pytest.raises(ValueError, match=r"expected images as uint8 .*to\(torch.uint8\)"):
        to_float(given)
    assert torch.equal(given, before)
    stored = IMAGES.clone()
    made = to_float(stored)
    made += 1
    assert torch.equal(stored, IMAGES)


def test_float_images_survive_what_refuses_them() -> None:
    floats = FLOATS.clone()
    takers: list[Callable[[], object]] = [
        lambda: list(pretraining(images=floats).run()),
        lambda: list(pretraining(watch=floats, watch_labels=LABELS).run()),
        lambda: problem(images=floats),
        lambda: features(Flat(), floats, mean=MEAN, std=STD),
        lambda: view_distances(Flat(), Flat(), floats, VIEWS),
        lambda: image_embeddings(Flat(), Flat(), floats, mean=MEAN, std=STD),
        lambda: SGDProbe(Flat(), floats, LABELS, IMAGES, LABELS, views=VIEWS, num_classes=CLASSES),
        lambda: SGDProbe(Flat(), IMAGES, LABELS, floats, LABELS, views=VIEWS, num_classes=CLASSES),
        lambda: list(separability(floats, floats, LABELS)),
        lambda: list(audit(floats, LABELS, CLASSES)),
        lambda: grayscale(floats),
        lambda: jpeg(floats, quality=10),
        lambda: bit_depth(floats, bits=2),
        lambda: mixup(floats, alpha=1.0, generator=torch.Generator()),
        lambda: cutmix(floats, alpha=1.0, generator=torch.Generator()),
        lambda: perturb(floats, "fog", severity=1, seed=0),
    ]
    for number, take in enumerate(takers):
        with pytest.raises(ValueError, match="uint8"):
            take()
        assert torch.equal(floats, FLOATS), number


@pytest.mark.parametrize(
    "images", [IMAGES[0], IMAGES[:0], IMAGES[:, :1], IMAGES.permute(0, 2, 3, 1)]
)
def test_images_of_another_shape_are_refused(images: Tensor) -> None:
    for take in (pretraining, problem):
        with pytest.raises(ValueError, match=r"expected images as uint8 \[N, 3, H, W\], got"):
            take(images=images, labels=LABELS[: len(images)])


@pytest.mark.parametrize(("labels", "message"), BAD_LABELS)
def test_labels_of_another_kind_are_refused(labels: Any, message: str) -> None:
    for take in (pretraining, problem):
        with pytest.raises(ValueError, match=message):
            take(labels=labels)
    with pytest.raises(ValueError, match=message):
        list(audit(IMAGES, labels, CLASSES))


def test_learners_without_labels_take_those_of_any_number_of_classes() -> None:
    list(pretraining("simclr", labels=LABELS + 40).run())


def test_images_to_watch_need_labels() -> None:
    # Their curves were lost, and then missed, without a word.
    for given in ({"watch": IMAGES}, {"watch_labels": LABELS}):
        with pytest.raises(ValueError, match="give `watch` and `watch_labels`"):
            pretraining(**given)


# Problems.


def test_a_mode_that_is_none_is_no_other_mode() -> None:
    for mode in ("klass", "Class", "", None):
        with pytest.raises(ValueError, match="give `mode=class` or `mode=sample`"):
            problem(mode=mode)
        with pytest.raises(ValueError, match="there is no mode"):
            rows_of(LABELS, mode)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "`num_classes` is 0"),
        ({"num_classes": 3.0}, "`num_classes` is 3.0; give a whole number"),
        ({"mean": (0.5, 0.5)}, "`mean` has 2 numbers"),
        ({"mean": (127.5, 127.5, 127.5)}, "`mean` is 127.5; give a number of at least 0 and at"),
        ({"std": (0.2, 0.0, 0.2)}, "`std` is 0.0; give a number above 0"),
        ({"seed": 1.5}, "`seed` is 1.5"),
        ({"init": torch.zeros(NUM, 3, SIDE, SIDE)}, "made for these images and this mode"),
        ({"init": torch.zeros(CLASSES, 3, SIDE, SIDE, dtype=torch.int64)}, "as float"),
        ({"init": torch.full((CLASSES, 3, SIDE, SIDE), 8.0)}, "units of epsilon"),
        ({"init": torch.full((CLASSES, 3, SIDE, SIDE), math.nan)}, "units of epsilon"),
    ],
)
def test_a_problem_that_is_none_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        problem(**changes)


def test_a_missing_learner_is_said() -> None:
    values = settings("simclr", "class")
    with pytest.raises(ValueError, match="give `alg=simclr`"):
        contrastive(problem(), values)
    by_argument = contrastive(problem(), values, alg="simclr")
    by_settings = contrastive(problem(), {**values, "alg": "simclr"})
    assert type(by_argument.learner.algorithm) is type(by_settings.learner.algorithm)


@pytest.mark.parametrize("attack", [adversarial, lsp])
def test_attacks_image_by_image_refuse_the_other_mode(attack: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="give `mode=sample`"):
        attack(problem(), settings(attack.__name__, "sample"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rounds", 0), ("rounds", 2.5), ("rounds", True), ("model_steps", -1), ("noise_steps", -1),
        ("pgd_steps", 0), ("batch_size", 0), ("batch_size", 1), ("step_size", -0.1),
        ("step_size", math.nan), ("step_size", math.inf), ("step_size", "0.1"),
    ],
)  # fmt: skip
def test_numbers_of_algorithm_1_out_of_range_are_refused(name: str, value: Any) -> None:
    numbers = {
        "rounds": 1, "model_steps": 0, "noise_steps": 0, "pgd_steps": 1, "step_size": 0.1,
        "batch_size": 2,
    }  # fmt: skip
    Alternation(**numbers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"`{name}` is {value!r}; give a"):
        Alternation(**{**numbers, name: value})


# Epsilon.


@pytest.mark.parametrize("level", range(256))
def test_a_float_of_so_many_levels_is_that_fraction(level: int) -> None:
    for value in (level / 255, level * (1 / 255), float(f"{level / 255:.10f}")):
        assert parse_epsilon(value) == Fraction(level, 255)
        assert levels(value) == level


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.03, Fraction(3, 100)), (0.1, Fraction(1, 10)), (1e-5, Fraction(1, 100000)), (0, 0), (1, 1),
     (0.0, 0), (1.0, 1), (Fraction(8, 255), Fraction(8, 255))],
)  # fmt: skip
def test_other_numbers_are_what_they_say(value: float | Fraction, expected: Any) -> None:
    found = parse_epsilon(value)
    assert isinstance(found, Fraction)
    assert found == expected


EPSILON_TAKERS: dict[str, Callable[[Any], object]] = {
    "parse_epsilon": parse_epsilon,
    "levels": levels,
    "Problem": lambda e: problem(epsilon=e),
    "perturb": lambda e: poison(FLOATS, torch.zeros_like(FLOATS), e),
    "poison_uint8": lambda e: poison_uint8(IMAGES, torch.zeros(CLASSES, 3, SIDE, SIDE), LABELS, e),
    "check_bound": lambda e: check_bound(IMAGES, IMAGES, e),
    "PGD": lambda e: PGD(MEAN, STD, epsilon=e, steps=1, step_size=1.0),
}


@pytest.mark.parametrize("door", EPSILON_TAKERS)
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (8, "write 8 gray levels of 255 as 8/255"), (9.0, "write 8 gray levels of 255 as 8/255"),
        ("16", "write 8 gray levels of 255 as 8/255"), (Fraction(9, 8), "greater than 1"),
        (-0.1, "is negative"), (Fraction(-8, 255), "is negative"), (math.nan, "is no number"),
        (math.inf, "is no number"), (True, "is no number"), (None, "is no number"),
        (torch.tensor(0.1), "is no number"),
    ],
)  # fmt: skip
def test_every_door_refuses_what_is_no_epsilon(door: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EPSILON_TAKERS[door](value)


def test_every_door_takes_all_ways_to_write_epsilon() -> None:
    ways = ("8/255", 8 / 255, Fraction(8, 255))
    assert {problem(epsilon=way).epsilon for way in ways} == {Fraction(8, 255)}
    delta = torch.ones(CLASSES, 3, SIDE, SIDE)
    poisoned = [poison_uint8(IMAGES, delta, LABELS, way) for way in ways]
    assert int((poisoned[0].int() - IMAGES.int()).max()) == 8
    for other, way in zip(poisoned, ways, strict=True):
        assert torch.equal(other, poisoned[0])
        check_bound(IMAGES, other, way)
    noisy = [poison(FLOATS, delta[LABELS], way) for way in ways]
    assert torch.equal(noisy[0], noisy[1])
    assert torch.equal(noisy[0], noisy[2])


# Training.


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "`epochs` is 0; give a whole number from 1 on"),
        ({"batch_size": 0}, "`batch_size` is 0"),
        ({"batch_size": 2.0}, "`batch_size` is 2.0"),
        ({"warmup_epochs": -1}, "`warmup_epochs` is -1"),
        ({"warmup_lr": math.nan}, "`warmup_lr` is nan"),
    ],
)
def test_schedules_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pretraining(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam"}, "unknown optimizer 'adam'; give sgd or adamw or lars"),
        ({"lr": -0.1}, "`lr` is -0.1"),
        ({"lr": math.inf}, "`lr` is inf"),
        ({"min_lr": 2.0}, "`min_lr` is 2.0"),
        ({"weight_decay": -1.0}, "`weight_decay` is -1.0"),
        ({"momentum": 1.0}, "`momentum` is 1.0"),
        ({"loss_scale": 0.0}, "`loss_scale` is 0.0; give a number above 0"),
    ],
)
def test_optimizers_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    algorithm = learner().algorithm
    options = {
        "optimizer": "sgd", "lr": 0.1, "min_lr": 0.0, "weight_decay": 0.0, "momentum": 0.9,
    } | changes  # fmt: skip
    with pytest.raises(ValueError, match=re.escape(message)):
        Learner(algorithm, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("alg", "changes"),
    [
        ("simclr", {"temperature": -0.5}), ("simclr", {"temperature": 0.0}),
        ("moco", {"temperature": -0.2}), ("moco", {"ema": 1.5}), ("moco", {"queue_size": 0}),
        ("byol", {"ema": -0.1}), ("barlow-twins", {"redundancy_weight": -0.1}),
        ("vicreg", {"variance_weight": -1.0}), ("nnclr", {"queue_size": 0}),
        ("moco-v3", {"ema": 1.5}), ("supcon", {"temperature": 0.0}),
        ("dino", {"teacher_temperature": 0.0}), ("dino", {"prototypes": 0}),
        ("dino", {"local_views": -1}), ("dino", {"local_area": 0.0}), ("dino", {"ema": 1.5}),
        ("swav", {"sinkhorn_epsilon": 0.0}), ("swav", {"local_size": 0}),
        ("swav", {"queue_size": -1}),
        ("simsiam", {"bn_groups": 0}), ("cmc", {"temperature": 0.0}),
        ("supervised", {"bn_groups": -1}),
    ],
)  # fmt: skip
def test_algorithms_out_of_range_are_refused(alg: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give a (number|whole number)"):
        learner(alg, **changes)


def test_a_shared_augmentation_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="shared must be of crop, flip"):
        Views(SIDE, MEAN, STD, shared=("crops",))


def test_views_refuse_what_is_not_finite_or_of_three_channels() -> None:
    with pytest.raises(ValueError, match="must be finite"):
        Views(SIDE, MEAN, STD, jitter=(0.4, math.nan, 0.4, 0.1))
    with pytest.raises(ValueError, match="must be three numbers"):
        Views(SIDE, MEAN[:1], STD)  # type: ignore[arg-type]


# Devices and precisions.


def test_a_device_itself_is_a_device() -> None:
    assert choose_device(torch.device("cpu")) == torch.device("cpu")
    for device in ("meta", "cuda:99"):
        with pytest.raises(ValueError, match="device '" + device):
            choose_device(torch.device(device))
    with pytest.raises(ValueError, match="unknown device 0"):
        choose_device(0)  # type: ignore[arg-type]


@pytest.mark.parametrize("precision", ["bfloat16", "BF16", "fp16", "", "float32"])
def test_another_precision_is_not_float32(precision: str) -> None:
    with pytest.raises(ValueError, match="use auto, bf16 or fp32"):
        choose_bf16(precision, torch.device("cpu"))


# Measuring and choosing.


def test_probes_refuse_labels_that_are_no_whole_numbers() -> None:
    z = torch.randn(NUM, 4)
    with pytest.raises(ValueError, match="labels as int64"):
        knn(z, LABELS, z, LABELS.float(), num_classes=CLASSES)
    with pytest.raises(ValueError, match="temperature > 0"):
        knn(z, LABELS, z, LABELS, num_classes=CLASSES, temperature=math.nan)


def test_noise_is_not_measured_between_images_of_other_shapes() -> None:
    with pytest.raises(ValueError, match="give the same images"):
        list(separability(IMAGES, IMAGES[:, :, :1, :1], LABELS))


def test_coresets_refuse_embeddings_of_other_images() -> None:
    z = torch.nn.functional.normalize(torch.randn(2 * NUM, 4), dim=1)
    for choose in (sas, sas_topk):
        with pytest.raises(ValueError, match="give both of the same images"):
            choose(z, LABELS, 0.5)
        with pytest.raises(ValueError, match="not finite"):
            choose(z[:NUM] / 0, LABELS, 0.5)
    with pytest.raises(ValueError, match="expected classes as int64"):
        balanced(LABELS.float(), 0.5, seed=0)


def test_clusters_are_not_more_than_the_images() -> None:
    for k in (0, NUM + 1):
        with pytest.raises(ValueError, match="cannot make"):
            k_means(torch.randn(NUM, 4), k, stream(0))


def test_defenses_refuse_strengths_that_are_none() -> None:
    for call in (
        lambda: bit_depth(IMAGES, bits=0),
        lambda: bit_depth(IMAGES, bits=9),
        lambda: jpeg(IMAGES, quality=0),
        lambda: mixup(IMAGES, alpha=0.0, generator=torch.Generator()),
    ):
        with pytest.raises(ValueError, match=r"`\w+` is"):
            call()
