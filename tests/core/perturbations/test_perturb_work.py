"""Some images in layers of lots, and the names of what was done to them."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from scenes import scenes

from cptools.core.perturbations.record import combine
from cptools.core.perturbations.steps import choose, layer, steps_of
from cptools.core.perturbations.work import Perturbing


def test_some_images_in_layers_of_lots() -> None:
    images = scenes(12)
    before = images.clone()
    layers = [steps_of(["rotate", "snow"], "frame"), steps_of(["shot_noise"], "frame")]
    rows, chosen = torch.arange(12) * 7, torch.tensor([0, 3, 4, 9, 11])
    work = Perturbing(images, layers, seed=3, rows=rows, chosen=chosen)
    assert sum(1 for _ in work.run()) == work.total
    assert torch.equal(images, before), "the input is left alone"
    for row in range(12):
        numbers = [number[row].item() for _, number in work.told]
        assert all(numbers) == any(numbers) == (row in chosen)
        had = [steps[number - 1] for steps, number in zip(layers, numbers, strict=True) if number]
        named = [names[n - 1] for (names, _), n in zip(work.told, numbers, strict=True) if n]
        assert named == list(map(str, had))
        expected = layer(images[[row]], had, seed=3, rows=rows[[row]])
        assert torch.equal(work.images[[row]], expected)


def test_what_is_to_come_is_counted(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("cptools.core.perturbations.steps._PIXELS", 3 * 8 * 8)
    layers = [steps_of(["contrast", "brightness"], "severity")]
    for num, chosen in ((20, torch.arange(20)), (20, torch.arange(0)), (7, torch.arange(7))):
        images = torch.zeros(num, 3, 8, 8, dtype=torch.uint8)
        work = Perturbing(images, layers, seed=0, rows=torch.arange(num), chosen=chosen)
        assert sum(1 for _ in work.run()) == work.total


def test_layers_draw_their_lots_apart() -> None:
    steps = steps_of(["rotate"], "frame")
    first, second = (choose(torch.arange(3000), steps, seed=0, place=p) for p in (0, 1))
    assert (first == second).double().mean() < 2 / 31


numbers = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=9)


@given(numbers, numbers)
def test_records_combined(train: list[tuple[int, int]], test: list[tuple[int, int]]) -> None:
    names, later = ("none", "a", "a+b"), ("none", "b", "c")
    parts = {"train": torch.tensor(train).view(-1, 2), "test": torch.tensor(test).view(-1, 2)}
    told, found = combine(
        names,
        {part: pairs[:, 0].long() for part, pairs in parts.items()},
        later,
        {part: pairs[:, 1].long() for part, pairs in parts.items()},
    )
    seen = {"none"}
    for part, pairs in (("train", train), ("test", test)):
        for number, (i, j) in zip(found[part].tolist(), pairs, strict=True):
            had = [name for name in (names[i], later[j]) if name != "none"]
            assert told[number] == ("+".join(had) or "none")
            seen.add(told[number])
    assert told[0] == "none"
    assert (len(told), set(told)) == (len(seen), seen)
