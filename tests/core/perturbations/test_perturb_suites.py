"""All perturbations at once: the table, their strengths, their random numbers, lots and layers."""

import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import draws, scenes

from cptools.core.lazy import load
from cptools.core.perturbations import PERTURBATIONS, SUITES, nearest_kind, steps
from cptools.core.perturbations.layered import PARTS
from cptools.core.perturbations.steps import Step, layer, mix, perturb, steps_of

ENDS = [
    Step(kind, by, number)
    for kind, perturbation in PERTURBATIONS.items()
    for by in ("severity", "frame")
    for number in perturbation.levels(by)
    if number in (min(perturbation.levels(by)), max(perturbation.levels(by)))
]


def run(step: Step, images: torch.Tensor, **more: object) -> torch.Tensor:
    return layer(images, [step], **({"seed": 0} | more))  # type: ignore[arg-type]


def test_the_suites_are_complete() -> None:
    corruptions, films, named = (SUITES[name] for name in ("cifar10-c", "cifar10-p", "ucla"))
    assert set(corruptions.kinds) == {
        "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur",
        "defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "snow", "frost", "fog",
        "brightness", "contrast", "saturate", "elastic_transform", "pixelate", "jpeg_compression",
        "spatter",
    }  # fmt: skip
    assert len(films.kinds) == 14
    assert len(named.kinds) == 8
    for suite in SUITES.values():
        assert len(steps_of(suite.kinds, suite.by)) >= len(suite.kinds)
    assert {len(PERTURBATIONS[kind].severities) for kind in corruptions.kinds} == {5}
    frames = {kind: len(PERTURBATIONS[kind].frames) for kind in films.kinds}
    assert (frames.pop("motion_blur"), frames.pop("translate")) == (21, 16)
    assert set(frames.values()) == {31}


@pytest.mark.parametrize("kind", PERTURBATIONS)
def test_the_table_names_what_is_there(kind: str) -> None:
    perturbation = PERTURBATIONS[kind]
    for found in (*perturbation.severities, *perturbation.frames):
        if found is not None:
            taken = {"images", *found.constants, *(["draws"] if perturbation.is_random else [])}
            assert set(load(found.function).__annotations__) - {"return"} == taken
    assert perturbation.text.endswith(".")


def test_the_table_is_light() -> None:
    code = (
        "import sys, cptools.core.perturbations, cptools.core.perturbations.steps\n"
        "print(*sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("step", ENDS, ids=str)
@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 9, 21), (2, 1, 1), (1, 2, 40), (2, 5, 1),
                                   (0, 8, 8)], ids=str)  # fmt: skip
def test_any_pictures_stay_pictures(step: Step, shape: tuple[int, int, int]) -> None:
    images = scenes(*shape)
    before = images.clone()
    perturbed = run(step, images)
    assert (perturbed.shape, perturbed.dtype) == (images.shape, torch.uint8)
    assert torch.equal(images, before), "the input is left alone"
    assert torch.equal(perturbed, run(step, images)), "the same seed"
    assert perturbed.data_ptr() != images.data_ptr() or not len(images)


@pytest.mark.parametrize("step", ENDS, ids=str)
def test_blocks_and_neighbors_do_not_matter(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    images = scenes(7, 24, 18)
    whole = run(step, images)
    rows = torch.tensor([5, 0, 2])
    assert torch.equal(run(step, images[rows], rows=rows), whole[rows])
    monkeypatch.setattr(steps, "_PIXELS", 2 * 24 * 18)
    assert torch.equal(run(step, images), whole)


@pytest.mark.parametrize("kind", [k for k, p in PERTURBATIONS.items() if p.is_random])
def test_seeds_and_rows_matter(kind: str) -> None:
    by = "severity" if PERTURBATIONS[kind].severities else "frame"
    step = Step(kind, by, max(PERTURBATIONS[kind].levels(by)))
    images = scenes(1).repeat(6, 1, 1, 1)
    perturbed = run(step, images)
    assert len(perturbed.flatten(1).unique(dim=0)) > 3, "each image its own"
    assert not torch.equal(perturbed, run(step, images, seed=1))


def test_films_of_noise_draw_anew_and_others_go_on() -> None:
    images = scenes(2)
    noise = [perturb(images, "gaussian_noise", frame=n, seed=0).double() for n in (0, 1, 2)]
    assert torch.equal(noise[0], images.double())
    apart = [(noise[n] - images).flatten() for n in (1, 2)]
    assert abs(torch.corrcoef(torch.stack(apart))[0, 1]) < 0.1
    snow = [perturb(images, "snow", frame=n, seed=0).double() for n in (9, 10, 20)]
    assert (snow[0] - snow[1]).abs().mean() < (snow[0] - snow[2]).abs().mean()


# Strength


def strengths(kind: str, by: str) -> list[float]:
    """Mean absolute difference at each level, in gray levels."""
    images = scenes(8)
    return [
        (run(step, images).double() - images).abs().mean().item() for step in steps_of([kind], by)
    ]


def is_growing(values: list[float]) -> bool:
    return all(a < b for a, b in pairwise(values))


WINDING = {  # the definitions of these do not grow in mean absolute difference: see the next tests
    "frost", "glass_blur", "saturate", "spatter", "elastic_transform", "motion_blur",
}  # fmt: skip


@pytest.mark.parametrize("kind", [k for k in SUITES["cifar10-c"].kinds if k not in WINDING])
def test_strength_grows_with_severity(kind: str) -> None:
    values = strengths(kind, "severity")
    assert values[0] > 0
    assert is_growing(values)


def test_strength_of_the_winding_ones() -> None:
    motion = strengths("motion_blur", "severity")
    assert is_growing(motion[:3])
    assert motion[4] > max(motion[:4])
    glass = strengths("glass_blur", "severity")
    assert min(glass[3:]) > max(glass[:3]), "twice is more than once"
    less, lesser, *more = strengths("saturate", "severity")
    assert less < lesser
    assert is_growing(more)
    *water, thin, thick = strengths("spatter", "severity")
    assert is_growing(water)
    assert thin < thick


def test_frost_hides_more_and_more() -> None:
    """What is left of the picture: its covariance with the frosted one, over its variance."""
    images = scenes(8).double()
    centered = images - images.mean((2, 3), keepdim=True)
    left = [
        (centered * run(step, scenes(8)).double()).sum().item()
        for step in steps_of(["frost"], "severity")
    ]
    assert is_growing([-share for share in left])


def test_elastic_wandering_grows_as_its_corners_stay() -> None:
    from cptools.core.perturbations.geometry import elastic_transform

    images = scenes(8)
    values = []
    for found in PERTURBATIONS["elastic_transform"].severities:
        assert found is not None
        constants = {**found.constants, "corner": 0.0}
        warped = elastic_transform(images, **constants, draws=draws(8))
        values.append((warped.double() - images).abs().mean().item())
    assert values[0] == 0
    assert is_growing(values)


NEUTRAL = {"zoom_blur": 0, "gaussian_blur": 0, "brightness": 15, "translate": 7, "rotate": 15,
           "shear": 15}  # fmt: skip


@pytest.mark.parametrize("kind", NEUTRAL)
def test_strength_grows_with_the_distance_from_the_neutral_frame(kind: str) -> None:
    values = strengths(kind, "frame")
    middle = NEUTRAL[kind]
    assert values[middle] < 0.1
    assert is_growing(values[middle:])
    assert is_growing(values[middle::-1])


def test_strength_of_tilt_and_scale() -> None:
    tilt = strengths("tilt", "frame")
    assert is_growing(tilt[18:])
    assert is_growing(tilt[12::-1])
    assert max(tilt[12:19]) < min(tilt[:6] + tilt[25:])
    scale = strengths("scale", "frame")
    assert scale[15] == 0
    assert is_growing(scale[15:])
    assert is_growing(scale[15::-1])


@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "speckle_noise"])
def test_noises_of_a_film_have_three_strengths(kind: str) -> None:
    images = scenes(4)
    values = []
    for name in (kind, f"{kind}_2", f"{kind}_3"):
        takes = [
            (perturb(images, name, frame=n, seed=0).double() - images).abs().mean().item()
            for n in (0, 1, 17, 30)
        ]
        assert takes[0] == 0
        assert takes[1:] == pytest.approx([takes[1]] * 3, rel=0.05)
        values.append(takes[1])
    assert is_growing(values)


# Lots and layers


@pytest.mark.parametrize("name", SUITES)
def test_a_lot_gives_each_image_what_its_step_gives(name: str) -> None:
    suite = SUITES[name]
    choices = steps_of(suite.kinds, suite.by)
    images = scenes(40)
    mixed, choice = mix(images, choices, seed=5)
    assert (choice.dtype, choice.shape) == (torch.int64, (40,))
    for row, number in list(enumerate(choice.tolist()))[::3]:
        alone = layer(images[row : row + 1], [choices[number]], seed=5, rows=torch.tensor([row]))
        assert torch.equal(mixed[row], alone[0])
    rows = torch.tensor([31, 4])
    again, same = mix(images[rows], choices, seed=5, rows=rows)
    assert torch.equal(again, mixed[rows])
    assert torch.equal(same, choice[rows])


def test_a_lot_draws_kinds_evenly_however_many_frames_they_have() -> None:
    choices = steps_of(["translate", "rotate"], "frame")
    _, choice = mix(torch.zeros(6000, 3, 1, 1, dtype=torch.uint8), choices, seed=0)
    assert (choice < 16).double().mean() == pytest.approx(0.5, abs=0.03)
    counts = torch.bincount(choice, minlength=47)
    assert counts[:16].double().tolist() == pytest.approx([3000 / 16] * 16, rel=0.3)
    assert counts[16:].double().tolist() == pytest.approx([3000 / 31] * 31, rel=0.45)
    _, fixed = mix(torch.zeros(9, 3, 1, 1, dtype=torch.uint8), steps_of(["fog"], "severity", 3),
                   seed=0)  # fmt: skip
    assert fixed.tolist() == [0] * 9
    assert mix(scenes(0), choices, seed=0)[1].shape == (0,)


def test_layers_lie_on_one_another() -> None:
    images = scenes(3)
    both = layer(images, [Step("rotate", "frame", 3), Step("fog", "severity", 2)], seed=0)
    below = perturb(images, "rotate", frame=3, seed=0)
    assert not torch.equal(both, below)
    other = layer(images, [Step("fog", "severity", 2), Step("rotate", "frame", 3)], seed=0)
    assert not torch.equal(both, other)
    assert torch.equal(layer(images, [], seed=0), images)


def test_noise_on_noise_is_new() -> None:
    """Twice the same noise would add up to twice its size, two independent ones to 1.41 times."""
    images = torch.full((20, 3, 32, 32), 128, dtype=torch.uint8)
    once = Step("gaussian_noise", "severity", 1)
    spread = [layer(images, [once] * n, seed=0).double().std().item() for n in (1, 2)]
    assert spread[1] / spread[0] == pytest.approx(2**0.5, rel=0.02)


def test_layered_effects_are_two_different_ones() -> None:
    images = scenes(24)
    result = perturb(images, "layered", frame=24, seed=0)
    calm = [kind for kind in PARTS if kind != "gaussian_noise"]
    last = {kind: len(PERTURBATIONS[kind].frames) - 1 for kind in PARTS}
    found = []
    for first in calm:
        for second in calm:
            pair = [Step(kind, "frame", round(0.8 * last[kind])) for kind in (first, second)]
            same = (layer(images, pair, seed=0) == result).all(1).all(1).all(1)
            found += [(first, second)] * int(same.sum())
    assert len(found) >= 12, "about five of seven pairs are without noise"
    assert all(first != second for first, second in found)
    assert len(set(found)) > 5


# What is asked for wrongly


@pytest.mark.parametrize(("name", "meant"), [("gausian_noise", "gaussian_noise"), ("Fog", "fog"),
                                             ("jpeg", "jpeg_compression"),
                                             ("blurr", "zoom_blur"),
                                             ("", "zoom_blur")])  # fmt: skip
def test_an_unknown_kind_names_the_nearest(name: str, meant: str) -> None:
    assert nearest_kind(name) == meant
    with pytest.raises(ValueError, match=rf"is no perturbation; did you mean {meant}\?"):
        perturb(scenes(1), name, severity=1, seed=0)


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("fog", {"severity": 6}, "fog has no severity 6; give one from 1 to 5"),
        ("fog", {"severity": 0}, "fog has no severity 0; give one from 1 to 5"),
        ("fog", {"frame": 3}, "fog has no frame; give its severity"),
        ("rotate", {"severity": 3}, "rotate has no severity; give its frame"),
        ("translate", {"frame": 16}, "translate has no frame 16; give one from 0 to 15"),
        ("fog", {}, "give one of severity and frame"),
        ("snow", {"severity": 1, "frame": 1}, "give one of severity and frame"),
    ],
)
def test_wrong_levels_are_told(kind: str, given: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=f"^{says}$"):
        perturb(scenes(1), kind, **given, seed=0)


@given(st.text(max_size=12))
@settings(max_examples=30)
def test_any_name_has_a_nearest(name: str) -> None:
    assert nearest_kind(name) in PERTURBATIONS


@pytest.mark.gpu
@pytest.mark.parametrize("step", ENDS, ids=str)
def test_a_gpu_makes_the_same_bytes(step: Step) -> None:
    images = scenes(9, 40, 32)
    rows = torch.arange(9)
    there = run(step, images.cuda(), rows=rows.cuda()).cpu()
    assert (there != run(step, images)).double().mean() < 1e-4
