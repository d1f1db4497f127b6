"""Defenses one after the other: as text, as settings, and at work.

As text, steps are separated by commas, and what a step is told follows its name after colons:
`mc:rank=8,jpeg:10`. As settings, a step is what `cp-defend` takes and its history keeps:
`{"mc": true, "mc_rank": 8}`, `{"jpeg": 10}`.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from cptools.core.defenses import DEFENSES
from cptools.core.lazy import load
from cptools.core.plugins import suggest
from cptools.core.settings import check_value, read_value

if TYPE_CHECKING:
    from torch import Generator, Tensor

BATCH = 512  # images that a defense sees at a time


@dataclass(frozen=True)
class Step:
    """A defense and all its settings.

    Attributes:
        name: a key of DEFENSES.
        values: its settings by argument; scales such as 8/255 are text.
    """

    name: str
    values: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """The step as the options of `cp-defend`: names to values."""
        main = DEFENSES[self.name].main
        others = {f"{self.name}_{k}": v for k, v in self.values.items() if k != main}
        return {self.name: True if main is None else self.values[main], **others}

    def __str__(self) -> str:
        """The step as text."""
        main = DEFENSES[self.name].main
        told = [f"{v}" if k == main else f"{k}={v}" for k, v in self.values.items()]
        return ":".join([self.name, *told])


def make_step(name: str, given: Mapping[str, object]) -> Step:
    """A step with its defaults.

    Args:
        name: a key of DEFENSES.
        given: settings by argument.

    Raises:
        ValueError: there is no such defense or setting, a value is not one that the setting has,
            two of the settings exclude each other, or the main one is missing.
    """
    defense = DEFENSES.find(name)
    chosen = [setting for setting in defense.choices if setting in given]
    if len(chosen) > 1:
        both = " and ".join(f"`{name}_{setting}`" for setting in chosen)
        raise ValueError(f"{both} exclude each other; give one of them")
    if defense.main is not None and defense.main not in given:
        raise ValueError(f"{name} needs its {defense.main}; give {name}:{defense.main.upper()}")
    values = {k: v for k, v in defense.defaults.items() if not (chosen and k in defense.choices)}
    for setting, value in given.items():
        if setting not in defense.settings:
            what = suggest(setting, defense.settings) if defense.settings else "it has none"
            raise ValueError(f"`{setting}` is no setting of {name}; {what}")
        try:
            values[setting] = check_value(defense.settings[setting], value)
        except ValueError as error:
            raise ValueError(f"{setting} of {name}: {error}") from None
    return Step(name, {k: values[k] for k in defense.settings if k in values})


def parse_steps(text: str) -> tuple[Step, ...]:
    """Read steps from text such as `mc:rank=8,jpeg:10`.

    Raises:
        ValueError: a name, a setting or a value is not one; one line.
    """
    return tuple(_parse(part.strip()) for part in text.split(","))


def _parse(text: str) -> Step:
    name, *told = text.split(":")
    defense = DEFENSES.find(name)
    given: dict[str, Any] = {}
    for part in told:
        setting, equals, value = part.partition("=")
        if not equals:
            setting, value = defense.main or "", part
        if setting not in defense.settings:
            has = ", ".join(f"{name}:{known}=..." for known in defense.settings) or "none"
            raise ValueError(f"{part!r} is no setting of {name}; it has {has}")
        try:
            given[setting] = read_value(defense.settings[setting], value)
        except ValueError as error:
            raise ValueError(f"{setting} of {name}: {error}") from None
    return make_step(name, given)


def defender(steps: Sequence[Step]) -> "Callable[[Tensor, Generator], Tensor]":
    """Steps in their order as one function of images and a generator.

    It takes uint8 [N, C, H, W] and a generator on the CPU, which advances, and returns uint8 of
    that shape on the device of the images; ValueError where a step cannot be applied to images of
    this size. None of the steps learns from the dataset.
    """
    functions = [_function(step) for step in steps]

    def defend(images: "Tensor", generator: "Generator") -> "Tensor":
        for function in functions:
            images = function(images, generator)
        return images

    return defend


def defend_batches(
    images: "Tensor",
    step: Step,
    generator: "Generator",
    *,
    trusted: "Tensor | None" = None,
    batch_size: int = BATCH,
) -> "Iterator[Tensor]":
    """Apply one step batch by batch, yielding each when it is done.

    Args:
        images: uint8 [N, C, H, W].
        step: what to do.
        generator: on the CPU; advances.
        trusted: uint8 [M, C, H, W], what a step that learns learns from; None: the images.
        batch_size: images at a time. What is drawn may depend on it.
    """
    learns = DEFENSES[step.name].learns
    learned: dict[str, Any] = {}
    if learns is not None:
        learn = load(learns)
        taken = inspect.signature(learn).parameters
        values = {name: value for name, value in _values(step).items() if name in taken}
        known = images if trusted is None else trusted
        learned["learned"] = learn(known, **values, generator=generator)
    function = _function(step, **learned)
    for batch in images.split(batch_size):
        yield function(batch, generator)


def _values(step: Step) -> dict[str, Any]:
    """The settings of a step as its function takes them."""
    settings = DEFENSES[step.name].settings
    return {
        name: float(Fraction(value)) if settings[name].kind is Fraction else value
        for name, value in step.values.items()
    }


def _function(step: Step, **learned: Any) -> "Callable[[Tensor, Generator], Tensor]":
    """The step as a function of images and a generator."""
    defense = DEFENSES[step.name]
    function = load(defense.function)
    values = _values(step) | learned

    def apply(images: "Tensor", generator: "Generator") -> "Tensor":
        drawn = {"generator": generator} if defense.is_random else {}
        result: Tensor = function(images, **values, **drawn)
        return result

    return apply
