"""The effect itself: poison lowers the probe of its victims, random noise does not.

On the built-in low-contrast shapes with the settings of `--recipe quick`, as `examples/shapes.sh`
measures them over five seeds (examples/results/shapes). Seeds run side by side, a thread each.
"""

from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from statistics import fmean

import numpy as np
import pytest
import torch

from cptools.core import recipes
from cptools.core.build import build_learner, build_views
from cptools.core.evaluation.probe import features, linear_probe_lbfgs
from cptools.core.poisons.budget import check_bound, poison_uint8
from cptools.core.poisons.contrastive import ContrastivePoisoning, random_delta
from cptools.core.random import stream
from cptools.core.sources.select import channel_statistics
from cptools.core.sources.shapes import shapes
from cptools.core.training import Pretraining

SEEDS = (0, 1, 2)
EPSILON = Fraction(8, 255)
CPU = torch.device("cpu")


def accuracies(seed: int) -> dict[str, float]:
    """Probe accuracy in percent of three victims: of clean, noisy and poisoned pictures."""
    torch.set_num_threads(1)
    arrays = shapes()
    mean, std = channel_statistics(arrays[0])
    images, labels, test_images, test_labels = map(torch.from_numpy, arrays)
    own = torch.arange(len(images))

    values = recipes.generate("quick", alg="simclr", mode="sample")
    views = build_views(values, size=32, mean=mean, std=std)
    attack = ContrastivePoisoning(
        images,
        own,
        random_delta(len(images), (3, 32, 32), stream(seed, "delta")),
        build_learner("simclr", values, device=CPU, bf16=False, seed=seed, role="attacker"),
        views,
        epsilon=float(EPSILON),
        seed=seed,
        **{
            name: values[name]
            for name in (
                "rounds", "model_steps", "noise_steps", "pgd_steps", "step_size", "batch_size",
            )
        },
    )  # fmt: skip
    for _ in attack.run():
        pass
    noise = random_delta(len(images), (3, 32, 32), stream(seed, "noise"))
    training = {
        "clean": images,
        "noise": poison_uint8(images, noise, own, EPSILON),
        "poison": poison_uint8(images, attack.delta, own, EPSILON),
    }
    result = {}
    values = recipes.pretrain("quick", alg="simclr", dataset="shapes")
    for name, pictures in training.items():
        check_bound(images, pictures, EPSILON)
        learner = build_learner("simclr", values, device=CPU, bf16=False, seed=seed)
        work = Pretraining(
            pictures,
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
        probe = linear_probe_lbfgs(
            train_f, labels, test_f, test_labels, num_classes=10, l2=1e-3, max_iter=200
        )
        result[name] = 100 * probe.accuracy
    return result


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_poison_lowers_the_probe_and_random_noise_does_not():
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        runs = list(pool.map(accuracies, SEEDS))
    mean = {name: fmean(run[name] for run in runs) for name in runs[0]}
    print(*runs, mean, sep="\n")  # noqa: T201 - what a failure is judged by
    assert mean["clean"] > 75
    assert mean["clean"] - mean["noise"] < 4
    assert mean["noise"] - mean["poison"] > 5
    assert np.median([run["clean"] - run["poison"] for run in runs]) > 5
