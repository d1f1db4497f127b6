"""Checks of the arguments of public functions, before any work."""

import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def check_artifact(value: object, *kinds: str, name: str) -> None:
    """Check that a value is an artifact of these kinds.

    Args:
        value: what was given.
        kinds: `dataset`, `delta` or `encoder`.
        name: of the parameter.

    Raises:
        ValueError: it is something else.
    """
    from cptools.artifacts.schema import KINDS

    if not isinstance(value, tuple(KINDS[kind] for kind in kinds)):
        what = getattr(value, "kind", type(value).__name__)
        raise ValueError(f"`{name}` is a {what}; give a {' or '.join(kinds)}, e.g. from `cp.load`")


def check_seed(seed: object) -> None:
    """Check that a value can seed a generator.

    Raises:
        ValueError: it is not an integer, or negative.
    """
    try:
        is_good = not isinstance(seed, bool) and operator.index(seed) >= 0  # type: ignore[arg-type]
    except TypeError:
        is_good = False
    if not is_good:
        raise ValueError(f"`seed` {seed!r} is not an integer from 0; give e.g. `seed=0`")


def check_word(value: object, words: "tuple[str, ...]", *, name: str) -> None:
    """Check that a value is one of several words.

    Raises:
        ValueError: it is not.
    """
    from cptools.core.plugins import suggest

    if value not in words:
        raise ValueError(
            f"`{name}={value}` is not known; {suggest(value, words, form=f'`{name}={{}}`')}"
        )


def check_share(value: object, *, name: str) -> float:
    """A fraction in [0, 1] as a float.

    Raises:
        ValueError: it is not one.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"`{name}` {value!r} is not a fraction; give a number from 0 to 1")
    return float(value)


def used_hardware(
    settings: dict[str, Any], device: "str | torch.device", precision: str
) -> "tuple[torch.device, bool]":
    """Choose device and precision, and add them to the settings recorded in the history.

    Returns:
        The device, and whether networks compute in bfloat16.

    Raises:
        ValueError: the device or precision is not available.
    """
    from cptools.core.device import choose_bf16, choose_device
    from cptools.workflows.checkpoints import show_settings

    device = choose_device(device)
    bf16 = choose_bf16(precision, device)
    settings |= {"device": device.type, "precision": "bf16" if bf16 else "fp32"}
    show_settings(settings)
    return device, bf16
