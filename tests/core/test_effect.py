"""The effect itself: poison lowers the probe of its victims, random noise does not.

On the built-in low-contrast shapes with the settings of `--recipe quick`, as `examples/shapes.sh`
measures them over five seeds (examples/results/shapes). Seeds run side by side, a thread each.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from functools import partial
from multiprocessing import get_context
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import Tensor

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
from cptools.core.poisons.base import Poisoning, Task
from cptools.core.poisons.budget import check_bound, poison_uint8
from cptools.core.poisons.noise import random_noise
from cptools.core.random import stream
from cptools.core.sources.select import channel_statistics
from cptools.core.sources.shapes import shapes
from cptools.core.training import Pretraining

SEEDS = (0, 1, 2)
EPSILON = Fraction(8, 255)
CPU = torch.device("cpu")
Measure = Callable[[Algorithm, Tensor, Tensor, Tensor, Tensor], ProbeResult]


def effect(attacker: str, victim: str, measure: Measure, seed: int) -> dict[str, float]:
    """Accuracy in percent of three victims: of clean, of noisy and of poisoned pictures.

    `measure` takes a victim and features and labels of the clean training and test pictures.
    """
    torch.set_num_threads(1)
    arrays = shapes()
    mean, std = channel_statistics(arrays[0])
    images, labels, test_images, test_labels = map(torch.from_numpy, arrays)
    task = Task(
        images, labels, num_classes=10, mean=mean, std=std, mode="sample", epsilon=float(EPSILON),
        seed=seed,
    )  # fmt: skip
    settings = {"alg": attacker, **ATTACKS[attacker].settings("quick", "sample")}
    attack: Poisoning = load(ATTACKS[attacker].build)(task, settings)
    for _ in attack.run():
        pass
    noise = random_noise(images.shape, stream(seed, "noise"))
    training = {
        "clean": images,
        "noise": poison_uint8(images, noise, task.rows, EPSILON),
        "poison": poison_uint8(images, attack.delta, task.rows, EPSILON),
    }
    result = {}
    values = recipes.pretrain("quick", alg=victim, dataset="shapes")
    views = build_views(values, size=32, mean=mean, std=std)
    for name, pictures in training.items():
        check_bound(images, pictures, EPSILON)
        learner = build_learner(
            victim, values, num_classes=10, mean=mean, std=std, device=CPU, bf16=False, seed=seed
        )
        work = Pretraining(
            pictures,
            labels,
            learner,
            views,
            epochs=values["epochs"],
            batch_size=values["batch_size"],
            seed=seed,
        )
        for _ in work.run():
            pass
        train_f, test_f = (
            features(learner.algorithm.encoder, x, mean=mean, std=std)
            for x in (images, test_images)
        )
        measured = measure(learner.algorithm, train_f, labels, test_f, test_labels)
        result[name] = 100 * measured.accuracy
    return result


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
@pytest.mark.timeout(900)
def test_poison_lowers_the_probe_and_random_noise_does_not():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(partial(effect, "simclr", "simclr", probe), SEEDS))
    mean = {name: fmean(run[name] for run in runs) for name in runs[0]}
    print(*runs, mean, sep="\n")  # noqa: T201 - what a failure is judged by
    assert mean["clean"] > 75
    assert mean["clean"] - mean["noise"] < 4
    assert mean["noise"] - mean["poison"] > 5
    assert np.median([run["clean"] - run["poison"] for run in runs]) > 5


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_unlearnable_noise_destroys_supervised_learning_and_random_noise_does_not():
    attacked = partial(effect, "unlearnable", "supervised", own_classifier)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(attacked, SEEDS[:2]))
    print(*runs, sep="\n")  # noqa: T201 - what a failure is judged by
    for run in runs:
        assert run["clean"] > 90
        assert run["clean"] - run["noise"] < 5
        assert run["noise"] - run["poison"] > 30
