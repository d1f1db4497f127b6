"""Weights of networks from and for other programs: where training starts, `cptools export`."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from cptools.workflows.doors import check_artifact, check_path
from cptools.workflows.encoders import backbone_tensors, build_backbone, open_encoder

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cptools.artifacts.schema import Encoder, Input

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Weights:
    """A state dict of others.

    Attributes:
        tensors: by name, on the CPU.
        digest: SHA-256 of the file.
    """

    tensors: "dict[str, Tensor]"
    digest: str


def open_weights(path: "str | os.PathLike[str]") -> "Callable[[], Encoder | Weights]":
    """Open an encoder, checking its header, or a state dict; the function returned reads it.

    Args:
        path: an encoder of cptools, from a file, a pipe or `-`; or a file of others: a PyTorch
            file, in which code never runs, or plain safetensors.

    Raises:
        ArtifactError: it is neither.
    """
    kind = _kind(Path(path))
    if kind == "artifact":
        return open_encoder(path)
    return lambda: _read(Path(path), kind)


def read_weights(init: object, *, name: str) -> "Encoder | Weights":
    """An encoder or state dict, read if it is a path.

    Args:
        init: what was given.
        name: of the parameter.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(init, str | os.PathLike):
        return open_weights(check_path(init, name=name))()
    if isinstance(init, Weights):
        return init
    return cast("Encoder", check_artifact(init, "encoder", name=name))


def starting_tensors(
    init: "Encoder | Weights", architecture: str, width: int, parameter: str = "init"
) -> "tuple[dict[str, Tensor], Input]":
    """The tensors that a backbone starts from, and what the history says of them.

    Raises:
        ValueError: it is an encoder of another architecture or width.
    """
    from cptools.artifacts.history import digest
    from cptools.artifacts.schema import Input

    if isinstance(init, Weights):
        return init.tensors, Input(init.digest)
    if (init.architecture, init.width) != (architecture, width):
        raise ValueError(
            f"`{parameter}` is a {init.architecture} of width {init.width}, not a {architecture} of"
            " width"
            f" {width}; give `encoder={init.architecture}` and `width={init.width}`"
        )
    return backbone_tensors(init), Input(digest(init.arrays()), init.history, "encoder")


def export_encoder(encoder: "Encoder", path: str) -> None:
    """Export the backbone of an encoder, without its head, curves and history.

    Args:
        encoder: whose.
        path: file to write, atomically; its suffix is the format: .pth and .pt a state dict by
            `torch.save`, .safetensors the same as plain safetensors; .pt2 (torch.export) and .onnx
            the network, from normalized images [B, 3, S, S] to features, for any B.

    Raises:
        ValueError: the network cannot be made, or a package is missing.
    """
    from cptools.artifacts.atomic import atomic_write

    write = _FORMATS[Path(path).suffix]
    with atomic_write(path) as stream:
        write(encoder, stream)
    size, mean, std = (encoder.input_size, *map(_rounded, (encoder.mean, encoder.std)))
    _log.info("normalize images of %d pixels in [0, 1] by mean %s and std %s", size, mean, std)


def _rounded(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _torch_file(encoder: "Encoder", stream: BinaryIO) -> None:
    import torch

    torch.save(backbone_tensors(encoder), stream)  # of a path, its name would be in it


def _safetensors(encoder: "Encoder", stream: BinaryIO) -> None:
    from cptools.artifacts.foreign import write_safetensors

    arrays = {name: tensor.numpy() for name, tensor in backbone_tensors(encoder).items()}
    write_safetensors(arrays, stream)


def _torch_export(encoder: "Encoder", stream: BinaryIO) -> None:
    import torch

    torch.export.save(_program(encoder), stream)


def _onnx(encoder: "Encoder", stream: BinaryIO) -> None:
    import torch

    try:
        import onnxscript  # noqa: F401 - an optional dependency, of torch.onnx
    except ImportError as error:
        raise ValueError(
            f".onnx needs onnx and onnxscript ({error}); run pip install cptools[onnx]"
        ) from None
    program = torch.onnx.export(_program(encoder), input_names=["images"], verbose=False)
    assert program is not None
    stream.write(program.model_proto.SerializeToString())


def _program(encoder: "Encoder") -> "torch.export.ExportedProgram":
    import torch

    network = build_backbone(encoder, torch.device("cpu"))
    network = network.to(memory_format=torch.contiguous_format)
    images = torch.zeros(2, 3, encoder.input_size, encoder.input_size)
    batch = torch.export.Dim("batch")
    with torch.no_grad():
        program = torch.export.export(network, (images,), dynamic_shapes=({0: batch},))
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # it has the paths of this machine
    return program


_FORMATS: "dict[str, Callable[[Encoder, BinaryIO], None]]" = {
    ".pth": _torch_file,
    ".pt": _torch_file,
    ".safetensors": _safetensors,
    ".pt2": _torch_export,
    ".onnx": _onnx,
}


SUFFIXES = tuple(_FORMATS)


def _kind(path: Path) -> str:
    """`torch` or `safetensors` for a state dict of others; else `artifact`."""
    from cptools.artifacts.foreign import is_safetensors, kind_of

    if not path.is_file():
        return "artifact"
    if is_safetensors(path):
        return "safetensors"
    with path.open("rb") as stream:
        head = stream.read(2)
    is_torch = head.startswith((b"PK", b"\x80")) and kind_of(path) == "torch"
    return "torch" if is_torch else "artifact"


def _read(path: Path, kind: str) -> Weights:
    import torch

    from cptools.artifacts.foreign import read_safetensors
    from cptools.workflows.foreign import read_tensors

    if kind == "torch":
        tensors = read_tensors(path)
    else:
        tensors = {name: torch.from_numpy(a) for name, a in read_safetensors(path).items()}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Weights(tensors, digest)
