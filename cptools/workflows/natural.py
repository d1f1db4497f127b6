"""Natural corruptions of a dataset: what is to be done, the work, and its record."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.core.perturbations import (  # noqa: TID253 - a registry, without torch
    PERTURBATIONS,
    SUITES,
    nearest_kind,
)
from cptools.workflows.checkpoints import show_settings
from cptools.workflows.doors import check_text, check_word, naming
from cptools.workflows.histories import (
    earlier_perturbations,
    entry,
    main_input,
    natural_layers,
)
from cptools.workflows.progress import Track

if TYPE_CHECKING:
    from torch import Tensor

    from cptools.artifacts.schema import Dataset
    from cptools.core.perturbations.steps import Step
    from cptools.core.perturbations.work import Perturbing

SPLITS = {"train": ("train",), "test": ("test",), "both": ("train", "test")}
ANY = "any"  # a strength: random for each image
SEVERITY = 3  # where none is given: the middle of the five
MOST_ROWS = 1 << 28  # in a dataset: a random number for each has to fit into memory
_MANY = {"severity": "severities", "frame": "frames"}


class Plan(NamedTuple):
    """The corruptions of each image.

    Attributes:
        kinds: keys of PERTURBATIONS.
        layers: applied one after the other; of each, one step chosen at random.
        by: "severity" or "frame".
        strength: its number, or `any`.
    """

    kinds: tuple[str, ...]
    layers: "tuple[tuple[Step, ...], ...]"
    by: str
    strength: int | str


def check_strength(value: "int | str", *, name: str = "") -> str:
    """A strength as text: a whole number, or `any`.

    Raises:
        ValueError: it is neither.
    """
    text = str(value)
    if not isinstance(value, bool) and (
        text == ANY or (text.isascii() and text.isdigit() and len(text) <= 9)
    ):
        return text
    told = f"{text!r} is not a whole number, nor {ANY}"
    raise ValueError(f"`{name}` {told}; give one of these" if name else told)


def read_plan(
    *,
    suite: str | None = None,
    kind: str | None = None,
    severity: "int | str | None" = None,
    frame: "int | str | None" = None,
    mix: bool = False,
    layer: bool = False,
) -> Plan:
    """The plan for given settings.

    Args:
        suite: a key of SUITES.
        kind: names separated by commas; None: all of the suite.
        severity: a number or `any`; None: 3.
        frame: a number or `any`; None: any.
        mix: one of the kinds, chosen at random, for each image.
        layer: all of the kinds on every image.

    Raises:
        ValueError: there is no such kind or strength, or the options contradict each other.
    """
    from cptools.core.perturbations.steps import steps_of

    kinds = _kinds(suite, kind)
    severity = None if severity is None else check_strength(severity, name="severity")
    frame = None if frame is None else check_strength(frame, name="frame")
    if severity is not None and frame is not None:
        raise ValueError("`severity` and `frame` are two measures of strength; leave one out")
    given = "severity" if severity is not None else "frame" if frame is not None else None
    by = _measure(suite, kinds, given)
    text = severity or frame or (str(SEVERITY) if by == "severity" else ANY)
    number = None if text == ANY else int(text)
    if mix and layer:
        raise ValueError("`mix` applies one corruption, `layer` all of them; leave one out")
    if len(kinds) > 1 and not (mix or layer):
        raise ValueError(
            f"{len(kinds)} corruptions are chosen; give `mix` to apply one to each image, or"
            " `layer` to apply all of them"
        )
    if mix:
        for name in set(kinds):
            if kinds.count(name) > 1:
                raise ValueError(f"`mix` draws uniformly, but {name} is given twice; give it once")
    groups = [kinds] if mix else [(name,) for name in kinds]
    with naming(by):
        layers = tuple(steps_of(group, by, number) for group in groups)
    return Plan(kinds, layers, by, ANY if number is None else number)


def _kinds(suite: str | None, kind: str | None) -> tuple[str, ...]:
    if suite is not None:
        check_word(suite, tuple(SUITES), name="suite")
    if kind is None:
        return SUITES[str(suite)].kinds
    check_text(kind, name="kind", such_as="fog,snow")
    kinds = tuple(name.strip() for name in kind.split(",") if name.strip())
    if not kinds:
        raise ValueError("`kind` is empty; give a corruption, e.g. `kind=fog`")
    for name in kinds:
        if name not in PERTURBATIONS:
            raise ValueError(
                f"`kind`: {name!r} is not a corruption; did you mean {nearest_kind(name)}?"
            )
        if suite is not None and name not in SUITES[suite].kinds:
            raise ValueError(
                f"`kind`: {name} is not part of {suite}; leave `suite` out or give some of"
                f" {', '.join(SUITES[suite].kinds)}"
            )
    return kinds


def _measure(suite: str | None, kinds: Sequence[str], given: str | None) -> str:
    """What sets the strength: what is given, or else the suite's, or what all of the kinds have."""
    if suite is not None:
        by = SUITES[suite].by
        if given not in (None, by):
            raise ValueError(
                f"`{given}` does not apply to `suite={suite}`, which has {_MANY[by]}; give `{by}`"
            )
        return by
    lacking = {
        by: [name for name in kinds if not PERTURBATIONS[name].levels(by)]
        for by in ([given] if given else _MANY)
    }
    for by, names in lacking.items():
        if not names:
            return by
    if given is None:
        raise ValueError(
            f"{lacking['frame'][0]} has no frames and {lacking['severity'][0]} no severities;"
            " apply them with two successive `cp.perturb` calls"
        )
    have = [name for name, kind in PERTURBATIONS.items() if kind.levels(given)]
    other = "frame" if given == "severity" else "severity"
    raise ValueError(
        f"{lacking[given][0]} has no {_MANY[given]}; give `{other}` for it, or a corruption that"
        f" has: {', '.join(have)}"
    )


def choose_share(num: int, fraction: float, seed: int, *place: int) -> "Tensor":
    """Rows to change, int64 ascending; a larger share contains a smaller one.

    Args:
        num: of all rows.
        fraction: in [0, 1].
        seed: of the choice.
        place: of the command, as `earlier_perturbations` tells it.
    """
    import torch

    from cptools.core.random import stream

    order = torch.randperm(num, generator=stream(seed, "fraction", *place))
    return order[: round(fraction * num)].sort().values


def perturb_naturally(
    dataset: "Dataset", plan: Plan, settings: dict[str, Any], track: Track
) -> "Dataset":
    """The corrupted dataset, with a record of the corruptions of each image.

    Args:
        dataset: of any history; what it records is added to.
        plan: what to do.
        settings: for the history; of these, split, fraction and seed say what to work on.
        track: draws the progress.

    Raises:
        ValueError: there are no test images to perturb, or row numbers are too large.
    """
    from dataclasses import replace

    from cptools.artifacts.history import dataset_digest
    from cptools.core.random import stream

    show_settings(settings)
    seed = settings["seed"]
    seeds = {"train": seed, "test": stream(seed, "test").initial_seed()}
    work = {
        part: _work(dataset, part, plan, settings["fraction"], seeds[part])
        for part in SPLITS[settings["split"]]
        if part == "train" or len(dataset.test_images)
    }
    if not work:
        raise ValueError("the dataset has no test images; give `split=train`")
    for _ in track(
        (done for part in work.values() for done in part.run()),
        total=sum(part.total for part in work.values()),
        describe=lambda _: "",
        label="perturb",
    ):
        pass
    command = entry("cp-perturb", settings, main_input(dataset_digest(dataset)))
    changed: dict[str, Any] = {f"{part}_images": w.images.numpy() for part, w in work.items()}
    changed |= _record(dataset, {part: w.told for part, w in work.items()})
    return replace(dataset, **changed, history=(*dataset.history, command))


def _work(dataset: "Dataset", part: str, plan: Plan, fraction: float, seed: int) -> "Perturbing":
    import torch

    from cptools.core.perturbations.work import Perturbing

    arrays = dataset.arrays()
    images = torch.from_numpy(arrays[f"{part}.images"])
    rows = torch.arange(len(images))
    if f"{part}.index" in arrays:  # so that an image comes out the same before and after selection
        rows = torch.from_numpy(arrays[f"{part}.index"])
        if rows.max() >= MOST_ROWS:
            raise ValueError(
                f"{part}.index counts up to {rows.max()}, more than {MOST_ROWS} rows; select them"
                " again"
            )
    chosen = choose_share(len(images), fraction, seed, *earlier_perturbations(dataset.history))
    before = sum(map(natural_layers, dataset.history))
    return Perturbing(images, plan.layers, seed=seed, rows=rows, chosen=chosen, before=before)


def _record(
    dataset: "Dataset", told: "Mapping[str, Sequence[tuple[tuple[str, ...], Tensor]]]"
) -> dict[str, Any]:
    """Fields of the dataset that record its corruptions, earlier ones and those applied now.

    Args:
        dataset: before.
        told: of each layer, names, the same for all parts, and which of them each image has had;
            for the parts that were worked on.
    """
    import torch

    from cptools.artifacts.schema import UNCHANGED
    from cptools.core.perturbations.record import combine

    arrays = dataset.arrays()
    names: tuple[str, ...] = dataset.perturbations or (UNCHANGED,)
    found = {part: torch.zeros_like(layers[0][1]) for part, layers in told.items()}
    found |= {
        part: torch.from_numpy(arrays[f"{part}.perturbation"])
        for part in SPLITS["both"]
        if f"{part}.perturbation" in arrays
    }
    for layers in zip(*told.values(), strict=True):
        done = dict(zip(told, layers, strict=True))
        later = {
            part: done[part][1] if part in done else torch.zeros_like(before)
            for part, before in found.items()
        }
        names, found = combine(names, found, (UNCHANGED, *layers[0][0]), later)
    numbers = {f"{part}_perturbation": number.numpy() for part, number in found.items()}
    return {"perturbations": names, **numbers}
