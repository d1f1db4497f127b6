"""Steps as text, as settings and at work."""

import pytest
import torch

from cptools.core.defenses import DEFENSES, ON_THE_FLY
from cptools.core.defenses.on_the_fly import DefendedImages, DefendedViews
from cptools.core.defenses.steps import Step, defend_batches, defender, make_step, parse_steps
from cptools.core.lazy import load
from cptools.core.random import stream
from cptools.core.settings import read_value
from cptools.core.views import Views

IMAGES = torch.randint(0, 256, (20, 3, 16, 16), generator=stream(0), dtype=torch.uint8)
VIEWS = Views(size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
WHOLE = Views(
    size=16, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), scale=(1, 1), ratio=(1, 1), flip=0,
    jitter_p=0, gray_p=0,
)  # fmt: skip


@pytest.mark.parametrize("name", DEFENSES)
def test_every_defense_can_be_loaded_and_says_what_it_needs(name: str) -> None:
    defense = DEFENSES[name]
    assert callable(load(defense.function))
    assert defense.main is None or defense.main in defense.settings
    assert {*defense.defaults, *defense.choices} <= set(defense.settings)
    for setting, value in defense.defaults.items():
        assert read_value(defense.settings[setting], str(value)) == value


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("gray", [Step("gray", {})]),
        ("jpeg:10, gray", [Step("jpeg", {"quality": 10}), Step("gray", {})]),
        ("noise: 8 / 255", [Step("noise", {"sigma": "8/255"})]),
        ("noise:.1", [Step("noise", {"sigma": "0.1"})]),
        ("smooth:3:sigma=0.5", [Step("smooth", {"kernel": 3, "sigma": 0.5})]),
        (
            "mc:rank=8",
            [Step("mc", {"drop": 0.25, "rank": 8, "layout": "apart", "mask": "pixel"})],
        ),
        (
            "mc:drop=0.1:mask=entry",
            [Step("mc", {"drop": 0.1, "keep": 0.5, "layout": "apart", "mask": "entry"})],
        ),
    ],
)
def test_text(text: str, steps: list[Step]) -> None:
    parsed = parse_steps(text)
    assert list(parsed) == steps
    assert parse_steps(",".join(map(str, parsed))) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is no defense; give mc, noise"),
        ("mc,,gray", "'' is no defense"),
        ("blur", "'blur' is no defense"),
        ("jpeg", "jpeg needs its quality; give jpeg:QUALITY"),
        ("jpeg:0", "quality of jpeg: '0' is not a whole number from 1 to 100"),
        ("jpeg:ten", "quality of jpeg: 'ten' is not a whole number"),
        ("gray:3", "'3' is no setting of gray; it has none"),
        ("mc:8", "'8' is no setting of mc; it has mc:drop=..., mc:keep=..."),
        ("mc:ranks=8", "'ranks=8' is no setting of mc"),
        ("mc:drop=nan", "drop of mc: 'nan' is not a number from 0 to 0.99"),
        ("mc:eta=inf", "eta of mc: 'inf' is not a number from -2"),
        ("mc:mask=all", "mask of mc: 'all' is not one of pixel, entry"),
        ("mc:keep=0.5:rank=3", "`mc_keep` and `mc_rank` exclude each other"),
        ("noise:8", "sigma of noise: '8' is not a number from 0 to 1, such as 8/255"),
    ],
)
def test_text_that_is_none(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as caught:
        parse_steps(text)
    assert message in str(caught.value)


def test_settings_are_options() -> None:
    assert make_step("jpeg", {"quality": 10}).settings() == {"jpeg": 10}
    assert make_step("gray", {}).settings() == {"gray": True}
    assert make_step("mc", {"rank": 3}).settings() == {
        "mc": True, "mc_drop": 0.25, "mc_rank": 3, "mc_layout": "apart", "mc_mask": "pixel",
    }  # fmt: skip


def test_order_matters_and_is_kept() -> None:
    first, last = parse_steps("gray,noise:8/255")
    noisy = defender([first, last])(IMAGES, stream(0))
    assert not torch.equal(noisy[:, 0], noisy[:, 1])  # noise in color came last
    gray = defender([last, first])(IMAGES, stream(0))
    assert torch.equal(gray[:, 0], gray[:, 1])
    assert torch.equal(noisy, defender([last])(defender([first])(IMAGES, stream(0)), stream(0)))


def test_batches_are_the_images_in_order() -> None:
    (step,) = parse_steps("mc")
    parts = list(defend_batches(IMAGES, step, stream(0), batch_size=8))
    assert [len(part) for part in parts] == [8, 8, 4]
    assert torch.equal(torch.cat(parts), defender([step])(IMAGES, stream(0)))


def test_scales_reach_the_function_as_numbers() -> None:
    noisy = [defender(parse_steps(f"noise:{s}"))(IMAGES, stream(0)) for s in ("51/255", "0.2")]
    assert torch.equal(*noisy)


@pytest.mark.parametrize("where", ON_THE_FLY)
def test_without_a_defense_the_views_are_what_they_were(where: str) -> None:
    x = IMAGES.float() / 255
    views = load(ON_THE_FLY[where])(VIEWS, lambda images, _: images)
    level = 1 / 255 / 0.2  # views are rounded to 8 bits before they are defended
    assert (views(x, stream(1)) - VIEWS(x, stream(1))).abs().max() <= 0.51 * level
    weak = views.weak()(x, stream(1)) - VIEWS.weak()(x, stream(1))
    assert weak.abs().max() <= 0.51 * level
    local = views.local(8, 0.1)(x, stream(1)) - VIEWS.local(8, 0.1)(x, stream(1))
    assert local.abs().max() <= 0.51 * level


@pytest.mark.parametrize("kind", [DefendedImages, DefendedViews])
def test_a_defense_is_drawn_anew_for_every_view(kind: type[DefendedImages]) -> None:
    views = kind(WHOLE, defender(parse_steps("noise:8/255")))
    x = (IMAGES[:1].float() / 255).repeat(2, 1, 1, 1)
    rng = stream(0)
    view_a, view_b = views(x, rng)
    assert not torch.equal(view_a, view_b)
    assert not torch.equal(views(x, rng)[0], view_a)
    level = 1 / 255 / torch.tensor(WHOLE.std).view(3, 1, 1)
    moved = ((view_a - WHOLE(x, stream(1))[0]) / level).abs()
    assert 1 < moved.mean() < 20


def test_before_or_after_the_view() -> None:
    """Noise on an image is cropped and enlarged with it; on a view it is not."""
    gray = torch.full((200, 3, 16, 16), 0.5)
    views = Views(
        size=16, mean=(0, 0, 0), std=(1, 1, 1), scale=(0.1, 0.1), ratio=(1, 1), jitter_p=0, gray_p=0
    )
    defend = defender(parse_steps("noise:0.1"))

    def roughness(x: torch.Tensor) -> float:
        return float((x[..., 1:] - x[..., :-1]).square().mean() / (2 * x.var()))

    before = roughness(DefendedImages(views, defend)(gray, stream(0)))
    after = roughness(DefendedViews(views, defend)(gray, stream(0)))
    assert after == pytest.approx(1, abs=0.05)  # neighbors of white noise are independent
    assert before < 0.4
