"""The effect itself: poison lowers the probe of its victims, random noise does not.

On the built-in low-contrast shapes. The long form has the settings of `--recipe quick`, over five
seeds as `examples/shapes.sh` measures them (examples/results/shapes); the short one takes poison
that ships (examples/poisons) and trains one victim of each kind for fewer epochs. Victims train
side by side, a thread each.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import Tensor

from cptools.artifacts.schema import Delta
from cptools.artifacts.stream import open_artifact
from cptools.core import recipes
from cptools.core.algorithms.base import Algorithm
from cptools.core.build import build_learner, build_views
from cptools.core.evaluation.probe import (
    ProbeResult,
    classifier_accuracy,
    features,
    linear_probe_lbfgs,
)
from cptools.core.lazy import load
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.base import Poisoning, Problem
from cptools.core.poisons.budget import check_bound, poison_uint8
from cptools.core.poisons.noise import random_noise
from cptools.core.random import stream
from cptools.core.sources.select import channel_statistics
from cptools.core.sources.shapes import shapes
from cptools.core.training import Pretraining

FIVE = range(5)
CONDITIONS = ("poison", "clean", "noise")
EPSILON = Fraction(8, 255)
CPU = torch.device("cpu")
POISONS = Path(__file__).parents[2] / "examples" / "poisons"
Accuracies = dict[str, float]
Measure = Callable[[Algorithm, Tensor, Tensor, Tensor, Tensor], ProbeResult]


def effect(
    attacker: str, victim: str, measure: Measure, seeds: Sequence[int], epochs: int
) -> list[Accuracies]:
    """Accuracy in percent of three victims a seed: of clean, of noisy and of poisoned pictures.

    `measure` takes a victim and features and labels of the clean training and test pictures.
    """
    victims = list(product(CONDITIONS, seeds))  # the longest first
    measured = partial(accuracy, attacker, victim, measure, epochs)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = dict(zip(victims, pool.map(measured, *zip(*victims, strict=True)), strict=True))
    runs = [{condition: found[condition, seed] for condition in CONDITIONS} for seed in seeds]
    print(*runs, sep="\n")  # noqa: T201 - what a failure is judged by
    return runs


def accuracy(
    attacker: str, victim: str, measure: Measure, epochs: int, condition: str, seed: int
) -> float:
    """Accuracy in percent of one victim."""
    torch.set_num_threads(1)
    arrays = shapes()
    mean, std = channel_statistics(arrays[0])
    images, labels, test_images, test_labels = map(torch.from_numpy, arrays)
    problem = Problem(
        images, labels, num_classes=10, mean=mean, std=std, mode="sample", epsilon=float(EPSILON),
        seed=seed,
    )  # fmt: skip
    pictures = training_pictures(condition, attacker, problem)
    check_bound(images, pictures, EPSILON)
    values = recipes.pretrain("quick", alg=victim, dataset="shapes")
    learner = build_learner(
        victim, values, num_classes=10, mean=mean, std=std, device=CPU, bf16=False, seed=seed
    )
    work = Pretraining(
        pictures,
        labels,
        learner,
        build_views(values, size=32, mean=mean, std=std),
        epochs=epochs,
        batch_size=values["batch_size"],
        seed=seed,
    )
    for _ in work.run():
        pass
    train_f, test_f = (
        features(learner.algorithm.encoder, x, mean=mean, std=std) for x in (images, test_images)
    )
    measured = measure(learner.algorithm, train_f, labels, test_f, test_labels)
    return 100 * measured.accuracy


def training_pictures(condition: str, attacker: str, problem: Problem) -> Tensor:
    """Clean, with random noise, or poisoned: by an attack of the quick recipe or a file."""
    if condition == "clean":
        return problem.images
    if condition == "noise":
        delta = random_noise(problem.images.shape, stream(problem.seed, "noise"))
    elif attacker.endswith(".safetensors"):
        shipped = open_artifact(POISONS / attacker, expect=("delta",)).read()
        assert isinstance(shipped, Delta)
        values = torch.from_numpy(shipped.delta).float()
        return poison_uint8(problem.images, values, problem.labels, EPSILON)
    else:
        settings = {"alg": attacker, **ATTACKS[attacker].settings("quick", "sample")}
        attack: Poisoning = load(ATTACKS[attacker].build)(problem, settings)
        for _ in attack.run():
            pass
        delta = attack.delta
    return poison_uint8(problem.images, delta, problem.rows, EPSILON)


def probe(
    victim: Algorithm, train_f: Tensor, labels: Tensor, test_f: Tensor, test_labels: Tensor
) -> ProbeResult:
    return linear_probe_lbfgs(
        train_f, labels, test_f, test_labels, num_classes=10, l2=1e-3, max_iter=200
    )


def own_classifier(
    victim: Algorithm, train_f: Tensor, labels: Tensor, test_f: Tensor, test_labels: Tensor
) -> ProbeResult:
    classifier = victim.head["classifier"]
    return classifier_accuracy(test_f, test_labels, classifier.weight, classifier.bias)


@pytest.mark.slow
@pytest.mark.timeout(2700)
@pytest.mark.parametrize(
    ("attacker", "seeds", "epochs"),
    [
        ("simclr-class.delta.safetensors", (1,), 30),
        pytest.param("simclr", FIVE, 50, marks=pytest.mark.long),
    ],
)
def test_poison_lowers_the_probe_and_random_noise_does_not(attacker, seeds, epochs):
    runs = effect(attacker, "simclr", probe, seeds, epochs)
    mean = {condition: fmean(run[condition] for run in runs) for condition in CONDITIONS}
    assert mean["clean"] > 75
    assert mean["clean"] - mean["noise"] < 4
    assert mean["noise"] - mean["poison"] > 5
    assert np.median([run["clean"] - run["poison"] for run in runs]) > 5


@pytest.mark.slow
@pytest.mark.timeout(2700)
@pytest.mark.parametrize(
    ("attacker", "seeds", "epochs"),
    [
        ("unlearnable-class.delta.safetensors", (0,), 20),
        pytest.param("unlearnable", FIVE, 30, marks=pytest.mark.long),
    ],
)
def test_unlearnable_noise_destroys_supervised_learning_and_random_noise_does_not(
    attacker, seeds, epochs
):
    for run in effect(attacker, "supervised", own_classifier, seeds, epochs):
        assert run["clean"] > 90
        assert run["clean"] - run["noise"] < 5
        assert run["noise"] - run["poison"] > 30
