"""The audit: slow loops over pairs and places, planted noise, and datasets that hold little."""

import math
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn

from cptools.core.evaluation import audit as module
from cptools.core.evaluation.audit import (
    MARKED,
    NOISY,
    PARTS,
    Agreement,
    Audit,
    FlatNoise,
    agreement,
    audit,
    fine_detail,
    flat_noise,
    opponent,
)
from cptools.core.sources.shapes import shapes

Pictures = tuple[torch.Tensor, torch.Tensor]


def look(images: torch.Tensor, labels: torch.Tensor, num_classes: int = 10, **kw: Any) -> Audit:
    parts = list(audit(images, labels, num_classes, **kw))
    assert len(parts) == PARTS
    return Audit.of(parts)


def clean(seed: int = 0, num: int = 400) -> Pictures:
    images, labels, *_ = shapes(train=num, test=1, seed=seed)
    return torch.from_numpy(images), torch.from_numpy(labels)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(num: int, height: int = 16, width: int = 16, seed: int = 0) -> torch.Tensor:
    shape = (num, 3, height, width)
    return torch.randint(0, 256, shape, generator=generator(seed), dtype=torch.uint8)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=generator(seed))


def add(images: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    return (images + noise).round().clamp(0, 255).to(torch.uint8)


def by_class(labels: torch.Tensor) -> torch.Tensor:
    """One perturbation a class, as of class-wise contrastive poisoning."""
    return 4 * normal(10, 3, 32, 32).sign()[labels]


def patches(labels: torch.Tensor) -> torch.Tensor:
    """Squares of one color, whose mean tells the class, as of LSP."""
    coarse = 5 * normal(10, 3, 4, 4).sign()[labels] + 3 * normal(len(labels), 3, 4, 4, seed=1)
    return coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)


def white(labels: torch.Tensor) -> torch.Tensor:
    return 16 * torch.rand(len(labels), 3, 32, 32, generator=generator(0)) - 8


def pink(labels: torch.Tensor) -> torch.Tensor:
    """Noise of its own in each picture, in which neighbors are alike."""
    coarse = 5 * normal(len(labels), 3, 16, 16)
    return coarse.repeat_interleave(2, 2).repeat_interleave(2, 3) + 4 * normal(
        len(labels), 3, 32, 32, seed=1
    )


# Slow references


def slow_agreement(detail: np.ndarray, labels: list[int], inside: int | None = None) -> float:
    """Mean inner product of pairs in a class, or any, less that of two classes, by energy."""
    within, between = [], []
    for i, j in permutations(range(len(labels)), 2):
        product = sum(float(a) * float(b) for a, b in zip(detail[i], detail[j], strict=True))
        if labels[i] != labels[j]:
            between.append(product)
        elif inside in (None, labels[i]):
            within.append(product)
    energy = sum(float(a) ** 2 for row in detail for a in row) / len(labels)
    return (math.fsum(within) / len(within) - math.fsum(between) / len(between)) / energy


def slow_evidence(detail: np.ndarray, labels: list[int]) -> list[float]:
    """Cosine with the rest of the class, in deviations of the cosines of others with the class."""

    def cosine(i: int, members: list[int]) -> float:
        total = detail[members].astype(np.float64).sum(0)
        return float(detail[i] @ total / np.linalg.norm(detail[i]) / np.linalg.norm(total))

    found = []
    for i, label in enumerate(labels):
        members = [j for j in range(len(labels)) if labels[j] == label]
        others = [cosine(j, members) for j in range(len(labels)) if labels[j] != label]
        own = cosine(i, [j for j in members if j != i])
        found.append((own - np.mean(others)) / max(np.std(others), detail.shape[1] ** -0.5))
    return found


def slow_flat_noise(image: np.ndarray) -> tuple[float, float, float]:
    """Unrest, energy between and energy at the highest frequencies of the four flattest places."""
    red, green, blue = image.astype(np.float64)
    gray = (red + green + blue) / math.sqrt(3)
    colors = [(red - blue) / math.sqrt(2), (red - 2 * green + blue) / math.sqrt(6)]
    places = []
    for y in range(0, image.shape[1] - 7, 4):
        for x in range(0, image.shape[2] - 7, 4):
            brightness, *color = (
                dctn(part[y : y + 8, x : x + 8], norm="ortho") ** 2 for part in (gray, *colors)
            )

            def band(energies: list[np.ndarray], low: int, high: int) -> float:
                return float(
                    np.mean([e[i, j] for e in energies for i in range(8) for j in range(8)
                             if low <= i + j <= high])
                )  # fmt: skip

            unrest = band([brightness], 1, 3) + 4 * band(color, 1, 2)
            places.append((unrest, band(color, 3, 5), band(color, 9, 14)))
    least, middle, high = np.mean(sorted(places)[:4], 0)
    return float(least), float(middle), float(high)


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=12).filter(
        lambda labels: 1 < len(set(labels)) < len(labels)
    ),
    st.integers(2, 6),
    st.integers(0, 10**6),
)
def test_agreement_equals_a_loop_over_all_pairs(labels: list[int], dim: int, seed: int) -> None:
    rows = normal(len(labels), dim, seed=seed)
    rows -= rows.mean(0)
    got = agreement(rows, torch.tensor(labels), 5)
    detail = rows.numpy()
    assert got.value == pytest.approx(slow_agreement(detail, labels), abs=1e-5)
    for label, value in enumerate(got.by_class):
        several = labels.count(label) > 1
        expected = slow_agreement(detail, labels, label) if several else 0
        assert value == pytest.approx(expected, abs=1e-5)


def test_evidence_equals_a_loop_over_pictures() -> None:
    labels = (torch.arange(40) % 4).tolist()
    rows = normal(40, 300)
    rows[:10] += 0.5 * normal(4, 300, seed=1)[labels[:10]]
    rows[10:20] = rows[10:11] + 0.01 * rows[10:20]  # others that hardly differ
    rows -= rows.mean(0)
    got = agreement(rows, torch.tensor(labels), 4)
    np.testing.assert_allclose(got.evidence, slow_evidence(rows.numpy(), labels), rtol=1e-3)
    assert got.evidence.dtype == torch.float64


def test_opponent_colors_are_orthonormal() -> None:
    images = random_images(3)
    got = opponent(images)
    energy = images.double().square().sum()
    assert float(got.double().square().sum()) == pytest.approx(float(energy), rel=1e-6)
    gray = images[:, :1].expand(-1, 3, -1, -1)
    assert opponent(gray)[:, 1:].abs().max() < 1e-4
    np.testing.assert_allclose(opponent(gray)[:, 0], gray[:, 0] * math.sqrt(3), rtol=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (9, 14)])
def test_fine_detail_is_the_standardized_cosine_transform(shape: tuple[int, int]) -> None:
    images, (height, width) = random_images(20, *shape), shape
    colors = opponent(images).double().numpy()
    for channels, cut in (((1, 2), 0.2), ((0,), 0.4)):
        columns = []
        for channel in channels:
            whole = np.array([dctn(picture, norm="ortho") for picture in colors[:, channel]])
            columns += [
                whole[:, i, j]
                for i in range(height)
                for j in range(width)
                if math.hypot(i / height, j / width) >= cut * math.sqrt(2)
            ]
        expected = np.array(columns).T
        expected = (expected - expected.mean(0)) / (expected.std(0) + 0.1)
        got = fine_detail(images, channels, cut)
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got, expected, atol=1e-4)


def test_flat_noise_equals_a_loop_over_places() -> None:
    levels = torch.linspace(0, 8, 60)[:, None, None, None]
    smooth = normal(60, 3, 3, 5).repeat_interleave(4, 2).repeat_interleave(4, 3)
    images = add(torch.full((60, 3, 12, 20), 128), 20 * smooth + levels * normal(60, 3, 12, 20))
    unrest, middle, high = np.array([slow_flat_noise(image) for image in images.numpy()]).T
    got = flat_noise(images)
    np.testing.assert_allclose(got.levels, high**0.5, rtol=1e-3, atol=1e-3)
    noisy = high >= NOISY**2
    assert 10 < noisy.sum() < 50
    flat = noisy & (unrest <= np.quantile(unrest[noisy], 0.25))
    assert got.share == noisy.mean()
    assert got.white == pytest.approx(high[flat].mean() ** 0.5, rel=1e-3)
    assert got.color == pytest.approx(middle[flat].sum() / high[flat].sum(), rel=1e-3)


def test_a_few_noisy_pictures_tell_no_color() -> None:
    images = random_images(30, 8, 8)
    images[10:] = 128
    assert flat_noise(images).white > NOISY
    images[9] = 128
    found = flat_noise(images)
    assert (found.share, found.white, found.color) == (0.3, 0, 1)


# What it says


def test_labels_that_mean_nothing_have_no_agreement() -> None:
    """Over permutations the mean is 0, and the spread is that which is reported."""
    detail = normal(60, 40)
    detail[:20] *= 3  # pictures differ in how much detail they have
    detail -= detail.mean(0)
    found = [
        agreement(detail, torch.randint(0, 4, (60,), generator=generator(i)), 4, seed=i)
        for i in range(200)
    ]
    values = torch.tensor([result.value for result in found])
    assert abs(float(values.mean())) < 4 * float(values.std()) / math.sqrt(200)
    deviation = float(torch.tensor([result.deviation for result in found]).mean())
    assert deviation == pytest.approx(float(values.std()), rel=0.2)
    assert sum(result.score >= 1 for result in found) <= 2


def test_the_same_detail_in_a_class_agrees_fully() -> None:
    labels = torch.arange(40) % 4
    detail = normal(4, 30)[labels]
    got = agreement(detail - detail.mean(0), labels, 4)
    assert got.value == pytest.approx(4 / 3, rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_clean_pictures_are_inconspicuous(seed: int) -> None:
    found = look(*clean(seed))
    assert found.verdict == "inconspicuous"
    assert found.score < 0.7
    assert (found.evidence >= 1).double().mean() < 0.03


@pytest.mark.parametrize(
    ("noise", "verdict"),
    [(by_class, "poisoned"), (patches, "poisoned"), (white, "noisy"), (pink, "suspicious")],
)
def test_planted_noise(noise: Any, verdict: str) -> None:
    images, labels = clean()
    found = look(add(images, noise(labels)), labels)
    assert found.verdict == verdict
    assert (found.score >= 1) == (verdict in ("poisoned", "suspicious"))
    assert (found.evidence >= 1).double().mean() > 0.7
    swapped = look(add(images, noise(labels)), labels[torch.randperm(400, generator=generator(0))])
    assert swapped.agreement.score < 1  # without labels there is no shortcut


def test_half_of_one_class_is_found() -> None:
    images, labels = clean()
    rows = torch.nonzero(labels == 3).squeeze(1)[::2]
    images[rows] = add(images[rows], by_class(labels)[rows])
    found = look(images, labels)
    assert found.verdict == "poisoned"
    assert max(range(10), key=found.agreement.by_class.__getitem__) == 3
    assert set(rows.tolist()) == set(
        torch.nonzero(found.agreement.evidence >= MARKED)[:, 0].tolist()
    )


@pytest.mark.parametrize(
    ("value", "deviation", "score"),
    [(0.01, 0.0001, 5), (0.01, 0.005, 0.5), (-0.01, 0.001, 0), (0.0, 0.0, 0)],
)
def test_an_agreement_has_to_be_large_and_beyond_chance(
    value: float, deviation: float, score: float
) -> None:
    assert Agreement(value, deviation, (), torch.zeros(0)).score == pytest.approx(score)


@pytest.mark.parametrize(
    ("share", "white", "color", "score"),
    [(1, 4, 1.4, 2), (0.06, 4, 3, 2), (1, 3, 4 / 3, 1), (1, 9, 0.7, 0), (0.5, 0, 1, 0)],
)
def test_noise_has_to_be_common_and_colored(
    share: float, white: float, color: float, score: float
) -> None:
    assert FlatNoise(torch.zeros(0), share, white, color).score == pytest.approx(score)


def test_the_worst_is_told() -> None:
    none = torch.zeros(2, dtype=torch.float64)
    calm = Agreement(0.0, 0.001, (0.0,), none)
    shared = Agreement(0.006, 0.001, (0.006,), torch.tensor([8.0, 0.0], dtype=torch.float64))
    still = FlatNoise(torch.tensor([0.0, 1.25]), 0.0, 0.0, 1.0)
    found = Audit(calm, shared, still)
    assert (found.verdict, found.agreement, found.score) == ("poisoned", shared, 1.5)
    assert found.evidence.tolist() == [2, 0.5]
    assert Audit(shared, calm, still).agreement == shared
    grainy = replace(still, share=1.0, white=5.0)
    assert Audit(calm, calm, grainy).verdict == "noisy"
    assert Audit(calm, calm, replace(grainy, color=2.0)).verdict == "suspicious"
    assert Audit(calm, calm, still).verdict == "inconspicuous"


# What it does not depend on


def same(one: Audit, other: Audit, rows: torch.Tensor | None = None, *, null: float = 0) -> None:
    """Equal up to rounding; `rows` are those of the other, `null` the play of the deviation."""
    for a, b in ((one.color, other.color), (one.gray, other.gray)):
        assert a.value == pytest.approx(b.value, abs=1e-6)
        assert a.by_class == pytest.approx(b.by_class, abs=1e-6)
        assert a.deviation == pytest.approx(b.deviation, rel=null, abs=1e-6)
    assert (one.noise.share, one.noise.white, one.noise.color) == pytest.approx(
        (other.noise.share, other.noise.white, other.noise.color), rel=1e-4
    )
    evidence = one.evidence if rows is None else one.evidence[rows]
    np.testing.assert_allclose(evidence, other.evidence, atol=1e-3)


@pytest.mark.parametrize("noise", [patches, pink])
def test_order_does_not_matter(noise: Any) -> None:
    images, labels = clean(num=200)
    images, order = add(images, noise(labels)), torch.randperm(200, generator=generator(1))
    found, shuffled = look(images, labels), look(images[order], labels[order])
    same(found, shuffled, order, null=0.5)
    assert found.verdict == shuffled.verdict


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = clean(num=60)
    images = add(images, pink(labels))
    whole = look(images, labels)
    for block in (1, 7, 60):
        monkeypatch.setattr(module, "_PIXELS", block * 32 * 32)
        same(whole, look(images, labels))


def test_the_seed_draws_the_null_alone() -> None:
    images, labels = clean(num=200)
    first, again, other = (look(images, labels, seed=seed) for seed in (0, 0, 1))
    assert (first.color.deviation, first.gray.deviation) == (
        again.color.deviation, again.gray.deviation,
    )  # fmt: skip
    assert first.color.deviation != other.color.deviation
    assert torch.equal(first.evidence, again.evidence)
    same(first, other, null=0.5)


# Datasets that hold little


def one_in_a_class() -> torch.Tensor:
    labels = torch.zeros(40, dtype=torch.int64)
    labels[5] = 1
    return labels


BY_THREE = torch.arange(30) % 3
POOR = {
    "gray": (random_images(30)[:, :1].expand(-1, 3, -1, -1), BY_THREE),
    "constant": (random_images(30, 1, 1).expand(-1, -1, 16, 16), BY_THREE),
    "black": (torch.zeros(30, 3, 16, 16, dtype=torch.uint8), BY_THREE),
    "all the same": (random_images(1).expand(30, -1, -1, -1), BY_THREE),
    "one a class": (random_images(3), torch.arange(3)),
    "one picture": (random_images(1), torch.zeros(1, dtype=torch.int64)),
    "one class": (random_images(30), torch.zeros(30, dtype=torch.int64)),
    "a class of one": (random_images(40), one_in_a_class()),
    "the smallest": (random_images(30, 8, 8), BY_THREE),
}


@pytest.mark.parametrize("name", POOR)
def test_poor_datasets_raise_no_alarm(name: str) -> None:
    images, labels = POOR[name]
    found = look(images.contiguous(), labels, 5)  # classes without pictures among them
    for part in (found.color, found.gray):
        assert all(map(math.isfinite, (part.value, part.deviation, *part.by_class)))
        assert len(part.by_class) == 5
        assert part.by_class[3:] == (0, 0)
        assert (part.evidence < MARKED).all()  # false for NaN
    assert all(map(math.isfinite, (found.noise.white, found.noise.color, *found.noise.levels)))
    assert 0 <= found.score < 1
    calm = ("gray", "constant", "black")
    assert found.verdict == ("inconspicuous" if name in calm else "noisy")


def test_a_class_of_one_picture_has_no_agreement() -> None:
    images, labels = clean(num=60)
    labels[labels == 2] = 3
    labels[7] = 2
    found = look(images, labels)
    assert found.color.by_class[2] == found.gray.by_class[2] == 0
    assert found.color.evidence[7] == found.gray.evidence[7] == 0


def test_pictures_that_are_alike_in_a_class_are_marked() -> None:
    labels = torch.arange(30) % 2
    found = look(random_images(2)[labels], labels, 2)
    assert found.verdict == "poisoned"
    assert (found.evidence >= 1).all()
    assert found.evidence.isfinite().all()


@pytest.mark.parametrize("shape", [(0, 16, 16), (5, 7, 16), (5, 16, 7), (5, 1, 1)])
def test_too_little_is_refused(shape: tuple[int, int, int]) -> None:
    images = random_images(*shape)
    with pytest.raises(ValueError, match="needs images of at least 8 x 8 pixels; make them larger"):
        look(images, torch.zeros(len(images), dtype=torch.int64), 2)


@pytest.mark.gpu
def test_a_gpu_finds_the_same() -> None:
    images, labels = clean()
    images = add(images, patches(labels))
    same(look(images, labels), look(images, labels, device=torch.device("cuda")))
