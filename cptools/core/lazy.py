"""Choices named by strings, imported when used, so that `--help` lists them without torch."""

from importlib import import_module
from typing import Any


def load(spec: str) -> Any:
    """Import what `spec` names.

    Args:
        spec: "module:attribute", such as "cptools.core.algorithms.simclr:SimCLR".

    Raises:
        ImportError: there is no such module.
        AttributeError: the module has no such attribute.
    """
    module, attribute = spec.split(":")
    return getattr(import_module(module), attribute)
