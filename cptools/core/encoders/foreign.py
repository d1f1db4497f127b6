"""Encoders from outside this package: a function of another module, or a model of timm.

They keep their own names of weights and their own initialization, made reproducible by a generator.
Reading an encoder file must not run code that only the file names: a "package.module:function" that
is no entry of ENCODERS is refused unless somebody vouches for it, in the call or by the environment
variable CPTOOLS_TRUST, names with commas between them. timm's models are timm's own code; names by
which it would fetch something from elsewhere are none here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import cast

import torch
from torch import nn

from cptools.core.algorithms.base import Backbone
from cptools.core.lazy import load
from cptools.trust import TRUST, vouched


def check_trust(name: str, *, trust: bool) -> None:
    """Refuse to import code that nobody vouches for.

    Args:
        name: of a foreign encoder, such as "package.module:function".
        trust: whether the caller vouches for it.

    Raises:
        ValueError: it is code, and neither the caller nor CPTOOLS_TRUST vouches for it.
    """
    if not (trust or name.startswith("timm:") or name in vouched()):
        raise ValueError(
            f"the encoder {name} is code of another package, which could do anything; if you trust"
            f" it, set the environment variable {TRUST}={name}"
        )


@contextmanager
def seeded(generator: torch.Generator) -> Iterator[None]:
    """Let torch's global generator on the CPU start where this one says, and put it back."""
    seed = int(torch.randint(2**62, (), generator=generator))
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def make_foreign(name: str, size: int) -> nn.Module:
    """The network that a name is of, with its own initial weights.

    Args:
        name: "timm:NAME" or "package.module:function"; the function takes no arguments.
        size: side of the images in pixels.

    Raises:
        ValueError: there is none, or it cannot be made; one line.
    """
    if name.startswith("timm:"):
        return _timm(name.removeprefix("timm:"), size)
    try:
        network = load(name)()
    except Exception as error:  # of anybody's code
        raise ValueError(f"the encoder {name} cannot be made: {_told(error)}") from error
    if not isinstance(network, nn.Module):
        raise ValueError(f"the encoder {name} is no torch.nn.Module but {type(network).__name__}")
    return network


def _timm(model: str, size: int) -> nn.Module:
    try:
        import timm  # an optional dependency
    except ImportError as error:
        raise ValueError(
            f"timm:{model} needs timm ({error}); run pip install cptools[timm]"
        ) from None
    name = model.partition(".")[0]
    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name}; {_near(name, timm.list_models())}")
    network: nn.Module
    try:
        try:
            network = timm.create_model(model, num_classes=0, pretrained=False, img_size=size)
        except TypeError:  # it takes images of any size
            network = timm.create_model(model, num_classes=0, pretrained=False)
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise ValueError(f"timm:{model} cannot be made: {_told(error)}") from error
    return network


def _near(name: str, models: list[str]) -> str:
    """What to do about an unknown model: there are more than a thousand of them."""
    near = get_close_matches(name, models, 1)
    return f"did you mean {near[0]}?" if near else "see timm.list_models()"


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def as_backbone(network: nn.Module, name: str, size: int) -> Backbone:
    """A network as a backbone that keeps its weights: its feature dimension is measured.

    Args:
        network: from normalized images [B, 3, H, W] to features [B, D].
        name: for messages.
        size: side of the images in pixels.

    Raises:
        ValueError: it does not map images of this size to features.
    """
    try:
        with torch.no_grad():
            features = network.eval()(torch.zeros(2, 3, size, size))
    except Exception as error:  # of anybody's code
        reason = f"images of {size} pixels: {_told(error)}"
        raise ValueError(f"the encoder {name} does not take {reason}; give another") from error
    if not isinstance(features, torch.Tensor) or features.ndim != 2 or len(features) != 2:
        shape = list(getattr(features, "shape", [])) or type(features).__name__
        raise ValueError(f"the encoder {name} maps 2 images to {shape}, not to features [2, D]")
    backbone = cast("Backbone", network.train())
    backbone.feature_dim = features.shape[1]
    return backbone
