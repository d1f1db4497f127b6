"""Weights that a network starts from, under the names that others gave them."""

import logging
from collections.abc import Collection, Mapping

from torch import Tensor, nn

_log = logging.getLogger(__name__)

AROUND = ("state_dict", "model", "module", "encoder", "backbone", "encoder_q")
"""Words before the names of a backbone's tensors in checkpoints, such as MoCo's
`state_dict.module.encoder_q.conv1.weight`."""

_NAMED = 6  # tensors that a message lists


def load_weights(
    network: nn.Module, tensors: Mapping[str, Tensor], name: str, parameter: str = "init"
) -> None:
    """Load the tensors that a network has from those of a file.

    The words `AROUND` are taken off the names, as many as fit the network best. Tensors that are in
    one of the two alone are logged: those of the network stay as they are.

    Args:
        network: whose parameters and buffers are replaced, or none of them.
        tensors: by name, on the CPU.
        name: of the network, for messages.
        parameter: that the tensors came by, for messages.

    Raises:
        ValueError: no tensor is the network's, or one has another shape or is not finite.
    """
    wanted = network.state_dict()
    prefix = _prefix(wanted.keys(), tensors.keys())
    found = {key: tensors[prefix + key] for key in wanted if prefix + key in tensors}
    if not found:
        raise ValueError(
            f"`{parameter}` holds no tensor of {name}, but {_list(list(tensors))}; give weights of"
            f" {name}"
        )
    for key, tensor in found.items():
        if tensor.shape != wanted[key].shape:
            raise ValueError(
                f"`{parameter}`: {key} is {list(tensor.shape)}, in {name} here"
                f" {list(wanted[key].shape)};"
                f" give weights of the same `encoder`, `width` and image size"
            )
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"`{parameter}`: {key} is not finite; give other weights")
    missing = [k for k in wanted if k not in found and not k.endswith("num_batches_tracked")]
    unused = [key for key in tensors if key.removeprefix(prefix) not in found]
    told = {f"not in {name}": unused, "not in the file, and drawn from the seed": missing}
    if unused or missing:
        _log.warning(
            "`%s`: %d tensors loaded; %s",
            parameter,
            len(found),
            "; ".join(f"{what}: {_list(names)}" for what, names in told.items() if names),
        )
    network.load_state_dict(found, strict=False)


def _prefix(wanted: Collection[str], names: Collection[str]) -> str:
    """What stands before the network's names in a file: the shortest of those that fit best."""
    prefixes = {""}
    for name in names:
        words = name.split(".")
        count = next((i for i, word in enumerate(words) if word not in AROUND), 0)
        prefixes |= {"".join(f"{word}." for word in words[:i]) for i in range(1, count + 1)}
    return max(
        sorted(prefixes, key=lambda prefix: (len(prefix), prefix)),
        key=lambda prefix: sum(prefix + key in names for key in wanted),
    )


def _list(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (", ".join(names[:_NAMED]) or "nothing") + rest
