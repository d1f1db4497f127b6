"""Histories, written and read: the command that a workflow is, and what was done before it."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cptools import __version__
from cptools.core.defenses import DEFENSES  # noqa: TID253 - a registry, without torch
from cptools.core.perturbations import SUITES  # noqa: TID253 - a registry, without torch
from cptools.text import shown

if TYPE_CHECKING:
    from cptools.artifacts.schema import Entry, Input

_TOLD = {  # what a caption says of commands; of cp-defend it says all
    "cptools-import": ("algorithm", "mode", "epsilon"),
    "cp-generate": ("alg", "mode", "clusters", "branch", "epsilon", "rounds", "seed"),
    "cp-perturb": (
        *("suite", "kind", "severity", "frame", "mix", "layer"),
        *("noise", "epsilon", "fraction", "seed"),
    ),
}


def entry(tool: str, parameters: dict[str, Any], inputs: "dict[str, Input]") -> "Entry":
    """A line of history: what is None was not used. Names are in the order that files keep."""
    from cptools.artifacts.schema import Entry

    used = {name: value for name, value in sorted(parameters.items()) if value is not None}
    return Entry(
        tool=tool, version=__version__, parameters=used, inputs=dict(sorted(inputs.items()))
    )


def main_input(digest: str) -> "dict[str, Input]":
    """The inputs of a tool that read one artifact, whose history comes before its own."""
    from cptools.artifacts.schema import Input

    return {"input": Input(digest)}


def chain_name(history: "Sequence[Entry]") -> str:
    """What was done to a dataset, for a file name such as `byol-class-mc`; empty for nothing."""
    words = []
    for step in history:
        match step.tool:
            case "cp-generate":
                words += [step.parameters.get("alg"), step.parameters.get("mode")]
            case "cp-perturb":
                told = step.parameters
                natural = told.get("kind") or told.get("suite")
                words += [natural or ("noise" if told.get("noise") else "poisoned")]
            case "cp-defend":
                words += [name for name in DEFENSES if name in step.parameters]
            case "cp-pretrain":
                words += [step.parameters.get("alg")]
    return "-".join(shown(word) for word in words if word)


def earlier_perturbations(history: "Sequence[Entry]") -> tuple[int, ...]:
    """What sets a `cp-perturb` apart from those before it: their number; nothing for the first.

    So one after the other draws anew, although both have the same seed.
    """
    count = sum(step.tool == "cp-perturb" for step in history)
    return (count,) if count else ()


def natural_layers(step: "Entry") -> int:
    """How many layers of natural corruptions a command has put on the images."""
    told = step.parameters
    if step.tool != "cp-perturb" or not {"kind", "suite"} & told.keys():
        return 0
    if not told.get("layer"):
        return 1
    suite = SUITES.get(str(told.get("suite")))
    return (
        len(suite.kinds) if suite and "kind" not in told else str(told.get("kind")).count(",") + 1
    )


def changes(history: "Iterable[Entry]") -> list[str]:
    """What was done to training images, a kind of change for each command that changed them."""
    found = []
    for step in history:
        match step.tool:
            case "cp-perturb" if step.parameters.get("split") == "test":
                continue
            case "cp-generate":
                found.append("poison")
            case "cp-perturb" if "noise" in step.parameters:
                found.append("random noise")
            case "cp-perturb" if {"suite", "kind"} & step.parameters.keys():
                found.append("perturbation")
            case "cp-perturb":
                found.append("poison")
            case "cp-defend":
                found.append("defense")
    return found


def caption(history: "Iterable[Entry]") -> str:
    """The commands that changed the images, in a line."""
    words = []
    for step in history:
        told = _TOLD.get(step.tool, ())
        if step.tool == "cp-defend":
            told = tuple(name for name in step.parameters if name != "device")
        if not told:
            continue
        values = [
            name if step.parameters[name] is True else f"{name} {step.parameters[name]}"
            for name in told
            if name in step.parameters
        ]
        if "delta" in step.inputs:
            origin = caption(step.inputs["delta"].history)
            values.insert(0, f"delta ({origin})" if origin else "delta")
        words.append(shown(f"{step.tool}: {' '.join(values)}"))
    return " | ".join(words)
