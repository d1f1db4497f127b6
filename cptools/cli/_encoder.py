"""From an encoder's file to a network."""

from typing import TYPE_CHECKING

from cptools.cli._app import UsageError

if TYPE_CHECKING:
    from torch import device

    from cptools.artifacts.schema import Encoder
    from cptools.core.algorithms.base import Backbone


def build_backbone(encoder: "Encoder", place: "device") -> "Backbone":
    """The backbone of an artifact, on its device, in eval mode.

    Raises:
        UsageError: the architecture is unknown or the weights are not its own.
    """
    import torch

    from cptools.core.build import build_encoder
    from cptools.core.encoders import ENCODERS, PREFIX, is_foreign

    name = encoder.architecture.removeprefix(PREFIX)
    if name not in ENCODERS and not is_foreign(name):
        raise UsageError(
            f"unknown architecture {encoder.architecture!r}; this version has {', '.join(ENCODERS)}"
        )
    network = build_encoder(encoder.architecture, encoder.width, size=encoder.input_size)
    weights = {
        name.removeprefix("backbone."): torch.from_numpy(array)
        for name, array in encoder.tensors.items()
        if name.startswith("backbone.")
    }
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise UsageError(
            f"the weights are not those of {encoder.architecture} of width {encoder.width}"
            f" ({reason})"
        ) from None
    return network.eval().to(place).to(memory_format=torch.channels_last)
