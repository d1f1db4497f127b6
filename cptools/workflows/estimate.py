"""Does it protect these photographs? A small encoder is trained on them, with and without noise."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cptools.text import shown
from cptools.workflows.comparing import check_photos
from cptools.workflows.doors import check_count, check_seed
from cptools.workflows.pool import Pool, processes
from cptools.workflows.progress import Progress, Track, tracker
from cptools.workflows.protect import photographs_dataset, shrink

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cptools.artifacts.schema import Dataset

_LEAST = 40  # photographs
_FEW = 4  # photographs of a class: three to learn from, one to test on
_SHOWN, _SIDE = 10, 240
_TEST = 4  # each fourth is held out


@dataclass(frozen=True, eq=False)
class Estimate:
    """What an encoder learns from photographs, with and without protection.

    Attributes:
        photographs: how many it learned from.
        tested: how many others it was tested on, without noise.
        classes: number of classes that are told apart.
        labels: `folders`, or `groups` that an encoder of its own found.
        before: accuracies in percent by seed, trained on the originals.
        after: trained on the protected ones.
        size: of the images in pixels.
        pictures: some of the photographs by name: uint8 [3, S, S] before and after.
    """

    photographs: int
    tested: int
    classes: int
    labels: str
    before: tuple[float, ...]
    after: tuple[float, ...]
    size: int
    pictures: "tuple[tuple[str, NDArray[Any], NDArray[Any]], ...]" = ()

    def facts(self) -> dict[str, Any]:
        """What was measured, under stable names."""
        from cptools.core.evaluation.statistics import paired

        lost = paired(self.before, self.after)
        return {
            "photographs": self.photographs,
            "photographs_tested": self.tested,
            "classes": self.classes,
            "labels": self.labels,
            "size_pixels": self.size,
            "accuracy_percent_originals": list(self.before),
            "accuracy_percent_protected": list(self.after),
            "accuracy_percent_chance": 100 / self.classes,
            "lost_points": lost.difference,
            "lost_points_low": lost.low,
            "lost_points_high": lost.high,
        }

    def words(self) -> list[str]:
        """What was measured, for the owner of the photographs: the verdict first."""
        told = self.facts()
        before, after = (sum(part) / len(part) for part in (self.before, self.after))
        chance, low, high = 100 / self.classes, told["lost_points_low"], told["lost_points_high"]
        numbers = (
            f"trained on your originals, a small network recognizes {before:.1f}% of photographs"
            f" that it has not seen; trained on the protected ones, {after:.1f}%. By chance alone"
            f" it would be about {chance:.1f}%. The difference is {before - after:.1f} points (95%"
            f" interval {low:.1f} to {high:.1f}, {len(self.before)} repetitions)"
        )
        if before < 1.5 * chance:
            verdict = (
                "This cannot be told from these photographs: the network learns next to nothing"
                " from the originals either. Give more of them, or train longer (--epochs)."
            )
        elif low > 0:
            verdict = "The protection was measured to work against this network."
        else:
            verdict = (
                "No protection was measured: the difference may be chance. More repetitions"
                " (--seeds) or photographs tell smaller differences."
            )
        return [verdict, f"{numbers[:1].upper()}{numbers[1:]}.", _LABELS[self.labels]]


_LABELS = {
    "folders": "What it recognizes are the folders that the photographs are in.",
    "groups": "Your photographs are in no folders of classes, so what it recognizes are groups of"
    " similar ones, which another such network found in your originals. This says how much of"
    " that order is lost, not how much of what people would see in them.",
}

LIMITS = (
    "Larger networks that train for days, on larger images or many other photographs, were not"
    " tried: they may lose more, or less.",
    "Who has some of your photographs without noise, or takes the trouble of a defense"
    " (adversarial training, views without crops), learns more.",
    "Training with labels, fine-tuning of a network that was trained elsewhere, generators of"
    " images, search and recognition of faces are something else, and were not measured.",
    "Photographs that somebody has already are not protected.",
)


def estimate(
    photos: "str | os.PathLike[str]",
    protected: "str | os.PathLike[str]",
    *,
    size: int = 32,
    seeds: int = 3,
    limit: int = 1000,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress = None,
    **settings: Any,
) -> Estimate:
    """Train an encoder by SimCLR on photographs as they are and as they were protected.

    A linear classifier on its features, which is trained on originals, tells photographs apart that
    neither was trained on. Classes are the folders, if each photograph is in one; otherwise k-means
    clusters of the features of another encoder, trained on the originals.

    Args:
        photos: folder of the originals.
        protected: folder that `cp.protect` wrote.
        size: of the images that are trained on, in pixels.
        seeds: number of repetitions, 2 or more.
        limit: number of photographs that are taken, at random.
        seed: of the first repetition, and of the choice.
        jobs: number of processes that read; None: one for each core.
        progress: as of `cp.protect`.
        **settings: of `cp.pretrain`, such as `epochs`.

    Raises:
        ValueError: a folder or an argument is not as described, or there are too few photographs.
        FloatingPointError: the training diverged.
    """
    track = tracker(progress)
    roots = check_photos(photos, protected)
    check_count(seeds, name="seeds", least=2)
    check_seed(seed)
    names = _common(*roots, check_count(limit, name="limit", least=_LEAST), seed)
    with processes(jobs, most=len(names)) as pool:
        before, after = (dict(_read(root, names, size, pool, track)) for root in roots)
        names = [name for name in names if name in before and name in after]
        _check_enough(len(names), roots[0])
        some = names[:: max(1, len(names) // _SHOWN)][:_SHOWN]
        views = [dict(_read(root, some, _SIDE, pool, track)) for root in roots]
    pictures = tuple((name, views[0][name], views[1][name]) for name in some)
    clean = photographs_dataset(roots[0], [before[name] for name in names])
    labels = folder_labels(names)
    kind = "groups" if labels is None else "folders"
    if labels is None:
        labels = _groups(clean, seed, track, settings)
    train, test = _split(labels, seed)
    clean = _labeled(clean, labels, train, test)
    noisy = photographs_dataset(roots[1], [after[names[row]] for row in train])
    noisy = replace(clean, train_images=noisy.train_images)
    before_after = [_scores(one, clean, seed, seeds, track, settings) for one in (clean, noisy)]
    return Estimate(
        len(train), len(test), len(clean.classes), kind, before_after[0], before_after[1], size,
        pictures,
    )  # fmt: skip


def _common(photos: Path, protected: Path, limit: int, seed: int) -> list[str]:
    """Names that are in both folders, a random choice of them if they are many."""
    import random

    from cptools.artifacts.photo_folder import find_photographs

    names = sorted({*find_photographs(photos).names} & {*find_photographs(protected).names})
    _check_enough(len(names), photos)
    if len(names) > limit:
        names = sorted(random.Random(seed).sample(names, limit))
    return names


def _check_enough(num: int, folder: Path) -> None:
    if num < _LEAST:
        raise ValueError(
            f"{folder} has {num} photographs that are protected, from which a network learns"
            f" nothing; give {_LEAST} or more"
        )


def _read(
    root: Path, names: list[str], size: int, pool: Pool, track: Track
) -> "Iterator[tuple[str, NDArray[Any]]]":
    batches = shrink(root, names, size, pool)
    steps = track(
        (one for batch in batches for one in batch),
        total=len(names), describe=lambda one: shown(one.name), label=f"reading {shown(root.name)}",
    )  # fmt: skip
    yield from ((one.name, one.image) for one in steps if one.image is not None)


def folder_labels(names: list[str]) -> "NDArray[Any] | None":
    """Labels by folders, if there are two or more, with some photographs each."""
    import numpy as np

    folders = [os.path.dirname(name) for name in names]  # noqa: PTH120 - text
    found, labels, counts = np.unique(folders, return_inverse=True, return_counts=True)
    return labels if len(found) > 1 and counts.min() >= _FEW else None


def _groups(
    dataset: "Dataset", seed: int, track: Track, settings: dict[str, Any]
) -> "NDArray[Any]":
    """Labels by k-means clusters of the features of an encoder."""
    import torch

    from cptools.core.evaluation.clusters import k_means, nearest
    from cptools.core.evaluation.probe import features
    from cptools.core.random import stream
    from cptools.workflows.pretrain import pretrain

    encoder = pretrain(dataset, seed=seed + 1000, progress=track, **settings)
    images = torch.from_numpy(dataset.train_images)
    found = features(encoder.network(), images, mean=encoder.mean, std=encoder.std)
    num = min(10, len(images) // 10)
    centers = k_means(found, num, stream(seed, "estimate"))
    labels = nearest(found, [centers])[:, 0].cpu().numpy()
    return _without_few(labels)


def _without_few(labels: "NDArray[Any]") -> "NDArray[Any]":
    """Labels 0, 1, ...; groups too small to be tested become one."""
    import numpy as np

    counts = np.bincount(labels)
    merged = np.where(counts[labels] < _FEW, len(counts), labels)
    result: NDArray[Any] = np.unique(merged, return_inverse=True)[1]
    return result


def _split(labels: "NDArray[Any]", seed: int) -> "tuple[NDArray[Any], NDArray[Any]]":
    """Rows to train and to test on: of each class one in four is held out."""
    import numpy as np

    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == one)) for one in range(labels.max() + 1)]
    held = [rows[: max(1, len(rows) // _TEST)] for rows in shuffled]
    test = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), test), test


def _labeled(
    dataset: "Dataset", labels: "NDArray[Any]", train: "NDArray[Any]", test: "NDArray[Any]"
) -> "Dataset":
    labels = labels.astype("int64")
    return replace(
        dataset,
        train_images=dataset.train_images[train], train_labels=labels[train],
        test_images=dataset.train_images[test], test_labels=labels[test],
        classes=tuple(f"class {k}" for k in range(labels.max() + 1)),
    )  # fmt: skip


def _scores(
    dataset: "Dataset",
    clean: "Dataset",
    seed: int,
    seeds: int,
    track: Track,
    settings: dict[str, Any],
) -> tuple[float, ...]:
    """Accuracy in percent of each repetition."""
    from cptools.workflows.pretrain import pretrain
    from cptools.workflows.probe import probe

    encoders = (pretrain(dataset, seed=seed + k, progress=track, **settings) for k in range(seeds))
    return tuple(probe(encoder, clean, seed=seed).accuracy for encoder in encoders)
