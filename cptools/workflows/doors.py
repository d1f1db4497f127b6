"""Checks of the arguments of public functions, before any work."""

import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Real
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from fractions import Fraction

    import torch

    from cptools.artifacts.schema import Artifact, Dataset

PRECISIONS = ("auto", "fp32", "bf16")

_BYTES = "give uint8 in 0..255, of floats in [0, 1] (255 * images).round().astype('uint8')"
_WHOLE = "give what a function of cptools returned, or set that right with dataclasses.replace"


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the name of a parameter before what is said of its value, unless it is named there."""
    try:
        yield
    except ValueError as error:
        if f"`{name}" in str(error):
            raise
        raise ValueError(f"`{name}`: {error}") from None


def check_artifact(value: object, *kinds: str, name: str) -> "Artifact":
    """Refuse what is no artifact of these kinds, or one that no file could hold.

    Args:
        value: what was given.
        kinds: `dataset`, `delta` or `encoder`.
        name: of the parameter.

    Returns:
        The same.

    Raises:
        ValueError: it is something else, or was put together of what it may not hold.
    """
    from cptools.artifacts.schema import KINDS

    if not isinstance(value, tuple(KINDS[kind] for kind in kinds)):
        raise ValueError(
            f"`{name}` is {_a(getattr(value, 'kind', type(value).__name__))}; give"
            f" {' or '.join(map(_a, kinds))}{_instead(value, kinds[0])}"
        )
    artifact = cast("Artifact", value)
    _check_contents(artifact, name)
    return artifact


def check_labeled(dataset: "Dataset", what: str, instead: str) -> None:
    """Refuse images without labels where labels are needed.

    Args:
        dataset: the images.
        what: what needs labels.
        instead: what could be given otherwise.

    Raises:
        ValueError: the dataset has none.
    """
    if not dataset.is_labeled:
        raise ValueError(
            f"{what} needs labels, and {dataset.name} has none; give a labeled dataset{instead}"
        )


def check_given(value: object, *, name: str) -> "str | Dataset":
    """A dataset, or where it can be had as text.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, str | os.PathLike):
        return check_path(value, name=name)
    return cast("Dataset", check_artifact(value, "dataset", name=name))


def _a(word: str) -> str:
    return f"{'an' if word[:1] in 'aei' else 'a'} {word}"


def _instead(value: object, kind: str) -> str:
    """How to come from what was given to an artifact."""
    if isinstance(value, str | os.PathLike):
        return ": `cp.load` reads one from a file"
    if hasattr(value, "_fields") and kind in value._fields:  # cp.generate returns two things
        return f", here its .{kind}"
    return ", such as `cp.load` returns"


def _check_contents(artifact: "Artifact", name: str) -> None:
    """Refuse an artifact that a reader would refuse, or whose tensors PyTorch cannot share."""
    from cptools.artifacts.codec import validate
    from cptools.artifacts.errors import ArtifactError

    try:
        validate(artifact)
    except ArtifactError as error:
        what = str(error).partition(";")[0].removeprefix("damaged header: ").removeprefix("header.")
        remedy = _BYTES if ".images' is float" in what else _WHOLE
        raise ValueError(f"`{name}`: {what}; {remedy}") from None
    for key, array in artifact.arrays().items():
        if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
            raise ValueError(
                f"`{name}`: tensor {key!r} lies in memory as PyTorch cannot take it; give a copy,"
                f" numpy.array(..., dtype={array.dtype.name!r}, order='C')"
            )


def check_seed(seed: object) -> int:
    """A seed as an int.

    Raises:
        ValueError: it is not an integer, or negative.
    """
    return check_count(seed, name="seed", least=0)


def check_count(value: object, *, name: str, least: int = 1) -> int:
    """A whole number as an int, numpy's as well.

    Raises:
        ValueError: it is none, or below the least.
    """
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if not least <= number < 2**63:  # what a header may hold
        raise ValueError(
            f"`{name}` {value!r} is no whole number from {least}; give one, such as"
            f" `{name}={least}`"
        )
    return number


def check_word(value: object, words: "tuple[str, ...]", *, name: str) -> None:
    """Check that a value is one of several words.

    Raises:
        ValueError: it is not.
    """
    from cptools.core.plugins import suggest

    if not isinstance(value, str) or value not in words:
        raise ValueError(
            f"`{name}={value}` is not known; {suggest(value, words, form=f'`{name}={{}}`')}"
        )


def check_flag(value: object, *, name: str) -> None:
    """Refuse what is neither True nor False, as "no" would pass for true.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, bool):
        raise ValueError(f"`{name}` {value!r} is neither True nor False; give one of these")


def check_share(value: object, *, name: str) -> float:
    """A fraction in [0, 1] as a float.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise ValueError(f"`{name}` {value!r} is no share; give a number from 0 to 1")
    return float(value)


def check_text(value: object, *, name: str, such_as: str) -> None:
    """Refuse what is no text.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(value, str):
        raise ValueError(f"`{name}` {value!r} is no text; give some, such as {such_as!r}")


def check_path(value: object, *, name: str) -> str:
    """A path as text.

    Raises:
        ValueError: it is none.
    """
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(f"`{name}` {value!r} is no path; give text or a pathlib.Path")
    return path


def read_epsilon(value: "str | float | Fraction") -> "Fraction":
    """The radius of the ball, exactly.

    Raises:
        ValueError: it is no number in [0, 1].
    """
    from cptools.core.epsilon import parse_epsilon

    try:
        return parse_epsilon(value)
    except ValueError as error:
        raise ValueError(str(error).replace("epsilon", "`epsilon`", 1)) from None


def used_device(device: "str | torch.device") -> "torch.device":
    """Choose a device.

    Raises:
        ValueError: there is no such device here.
    """
    from cptools.core.device import choose_device

    with naming("device"):
        return choose_device(device)


def used_hardware(
    settings: dict[str, Any], device: "str | torch.device", precision: str
) -> "tuple[torch.device, bool]":
    """Choose device and precision, and add them to the settings recorded in the history.

    Returns:
        The device, and whether networks compute in bfloat16.

    Raises:
        ValueError: the device or precision is not available.
    """
    from cptools.core.device import choose_bf16
    from cptools.workflows.checkpoints import show_settings

    check_word(precision, PRECISIONS, name="precision")
    device = used_device(device)
    bf16 = choose_bf16(precision, device)
    settings |= {"device": device.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings)
    return device, bf16
