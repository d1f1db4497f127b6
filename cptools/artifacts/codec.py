"""From an artifact to its header and back; a header is checked before the payload is read."""

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from cptools.artifacts.errors import ArtifactError, UpstreamError
from cptools.artifacts.fields import Fields
from cptools.artifacts.frame import Array, Spec, layout
from cptools.artifacts.provenance import (
    history_from_json,
    history_to_json,
    source_from_json,
    source_to_json,
)
from cptools.artifacts.schema import (
    ASSIGN,
    FAILURE,
    FORMAT,
    KINDS,
    UNCHANGED,
    Artifact,
    Assigner,
    Checkpoint,
    Dataset,
    Delta,
    Encoder,
)

_KEYS = {  # of the header, besides format, kind and history
    "dataset": ("name", "classes", "mean", "std", "source"),
    "delta": ("mode", "epsilon", "algorithm", "dataset"),
    "encoder": (
        *("architecture", "width", "feature_dim", "algorithm", "input_size"),
        *("mean", "std", "source"),
    ),
    "checkpoint": ("command",),
}
_OPTIONAL = {  # lists of names, left out where they are empty; and a delta's assigner
    "dataset": ("perturbations",),
    "delta": ("classes", "assigner"),
}
_ASSIGNER = ("architecture", "width", "mean", "std")
_FLOATS = ("float32", "float16")


def encode(artifact: Artifact) -> dict[str, Any]:
    """The header of an artifact as a JSON object."""
    header = {key: getattr(artifact, key) for key in _KEYS[artifact.kind]}
    for key in ("mean", "std"):
        if key in header:
            header[key] = [float(v) for v in header[key]]
    if "classes" in header:
        header["classes"] = list(header["classes"])
    if "source" in header:
        header["source"] = source_to_json(header["source"])
    for key in _OPTIONAL.get(artifact.kind, ()):
        if value := getattr(artifact, key):
            header[key] = _assigner_to_json(value) if key == "assigner" else list(value)
    history = history_to_json(artifact.history)
    return {"format": FORMAT, "kind": artifact.kind, **header, "history": history}


def _assigner_to_json(assigner: Assigner) -> dict[str, Any]:
    return {
        "architecture": assigner.architecture,
        "width": assigner.width,
        "mean": [float(v) for v in assigner.mean],
        "std": [float(v) for v in assigner.std],
    }


def encode_failure(tool: str, reason: str) -> dict[str, Any]:
    """The header of what a tool that failed sends instead of an artifact; it has no tensors."""
    return {"format": FORMAT, "kind": FAILURE, "tool": tool, "message": reason}


def decode(header: object, specs: Mapping[str, Spec]) -> dict[str, Any]:
    """Check a header against the tensors that come with it.

    Returns:
        What `build` needs besides the tensors: the kind, and the fields of its dataclass.

    Raises:
        ArtifactError: if it is not a header of this format, or the two do not fit.
        UpstreamError: if it is what a tool that failed sent instead of an artifact.
    """
    if not isinstance(header, dict) or not {"format", "kind"} <= header.keys():
        raise ArtifactError("damaged header: no format and kind; make the file again")
    version, kind = header["format"], header["kind"]
    if type(version) is not int or not 1 <= version <= FORMAT:
        found = repr(version)[:20]
        raise ArtifactError(f"format {found} is not supported ({FORMAT} is); update cptools")
    if kind == FAILURE:
        fields = Fields(header, "header", ("format", "kind", "tool", "message"))
        raise UpstreamError(fields.text("tool", r"[a-z][a-z -]{0,30}"), fields.text("message"))
    if not isinstance(kind, str) or kind not in KINDS:
        raise ArtifactError(f"kind {str(kind)[:40]!r} is not supported; update cptools")
    needed = ("format", "kind", *_KEYS[kind], "history")
    fields = Fields(header, "header", needed, _OPTIONAL.get(kind, ()))
    history = history_from_json(fields.items("history"))
    return {"kind": kind, **_DECODERS[kind](fields, specs), "history": history}


def validate(artifact: Artifact) -> None:
    """Check an artifact that was put together in memory as strictly as one that is read.

    Raises:
        ArtifactError: a reader would refuse it.
    """
    for name, array in artifact.arrays().items():
        if not isinstance(array, np.ndarray):
            raise ArtifactError(
                f"tensor {name!r} is a {type(array).__name__}, not a numpy array; convert it"
            )
    try:
        header = encode(artifact)
    except (
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
    ):  # a field is not even of the right type
        raise ArtifactError(
            "a field besides the tensors has another type than is documented; set it right"
        ) from None
    decode(header, layout(artifact.arrays()))
    artifact.check()


def build(decoded: Mapping[str, Any], arrays: dict[str, Array]) -> Artifact:
    """Put together what `decode` returned and the tensors; the contents are not checked here."""
    values = dict(decoded)
    kind = values.pop("kind")
    if kind == "encoder":
        return Encoder(tensors=arrays, **values)
    if kind == "checkpoint":
        return Checkpoint(tensors=arrays, **values)
    if kind == "delta":
        told = values.pop("assigner")
        tensors = {name.removeprefix(ASSIGN): arrays[name] for name in arrays if name != "delta"}
        assigner = None if told is None else Assigner(tensors, **told)
        return Delta(delta=arrays["delta"], assigner=assigner, **values)
    named = {name.replace(".", "_"): array for name, array in arrays.items()}
    return Dataset(**{"train_index": None, **values, **named})


def _dataset(fields: Fields, specs: Mapping[str, Spec]) -> dict[str, Any]:
    n, _, h, w = _tensor(specs, "train.images", ("uint8",), (None, 3, None, None))
    m, *_ = _tensor(specs, "test.images", ("uint8",), (None, 3, h, w))
    if 0 in (n, h, w):
        raise ArtifactError("the dataset has no training images; give one with training images")
    known = {"train.images", "train.labels", "test.images", "test.labels"}
    _tensor(specs, "train.labels", ("int64",), (n,))
    _tensor(specs, "test.labels", ("int64",), (m,))
    if "train.index" in specs:
        _tensor(specs, "train.index", ("int64",), (n,))
        known.add("train.index")
    perturbed = {"train.perturbation": n, "test.perturbation": m}
    for name in specs.keys() & perturbed:
        _tensor(specs, name, ("int64",), (perturbed[name],))
    _refuse(specs.keys() - known - perturbed.keys())
    return {
        "name": fields.text("name"),
        "classes": _different(fields, "classes"),
        "mean": fields.channels("mean", positive=False),
        "std": fields.channels("std", positive=True),
        "source": source_from_json(fields.raw("source")),
        "perturbations": _perturbations(fields, is_used=bool(specs.keys() & perturbed)),
    }


def _perturbations(fields: Fields, *, is_used: bool) -> tuple[str, ...]:
    """The names that the tensors of perturbations point to; there are both or neither."""
    if "perturbations" not in fields:
        if is_used:
            fields.fail("perturbations", "is missing")
        return ()
    names = _different(fields, "perturbations")
    if not is_used:
        fields.fail("perturbations", "is given without a perturbation tensor")
    if names[0] != UNCHANGED:
        fields.fail("perturbations", f"is not a list of names, {UNCHANGED!r} first")
    return names


def _different(fields: Fields, key: str) -> tuple[str, ...]:
    """Names of which none is given twice."""
    names = fields.texts(key)
    if len(set(names)) < len(names):
        fields.fail(key, "is not a list of different names")
    return names


def _delta(fields: Fields, specs: Mapping[str, Spec]) -> dict[str, Any]:
    num, *sizes = _tensor(specs, "delta", _FLOATS, (None, 3, None, None))
    if 0 in (num, *sizes):
        raise ArtifactError("the delta is empty; make the file again")
    assigner = None
    if "assigner" in fields:
        assigner = _assigner(fields, specs, num)
    else:
        _refuse(specs.keys() - {"delta"})
    mode = fields.text("mode", "class|sample")
    classes = _different(fields, "classes") if "classes" in fields else ()
    if classes and (mode != "class" or len(classes) != num):
        fields.fail("classes", f"is not a name for each of {num} rows of a class-wise delta")
    if assigner and mode != "class":
        fields.fail("assigner", "is given for a sample-wise delta")
    epsilon = fields.text("epsilon", r"[0-9]{1,20}(/0{0,20}[1-9][0-9]{0,20})?")
    if Fraction(epsilon) > 1:
        fields.fail("epsilon", "is more than 1")
    return {
        "mode": mode,
        "epsilon": epsilon,
        "algorithm": fields.text("algorithm"),
        "dataset": fields.digest("dataset"),
        "classes": classes,
        "assigner": assigner,
    }


def _assigner(fields: Fields, specs: Mapping[str, Spec], num: int) -> dict[str, Any]:
    """What a header says of the assigner of a delta with `num` rows."""
    told = Fields(fields.raw("assigner"), "header.assigner", _ASSIGNER)
    centers, backbone = f"{ASSIGN}centers", f"{ASSIGN}backbone."
    if 0 in _tensor(specs, centers, ("float32",), (num, None)):
        raise ArtifactError(f"tensor {centers!r} is empty; make the file again")
    weights = {name for name in specs if name.startswith(backbone)}
    for name in weights:
        _tensor(specs, name, (*_FLOATS, "int64"), specs[name].shape)
    if not weights:
        raise ArtifactError("the assigner of the delta has no backbone; make the file again")
    _refuse(specs.keys() - weights - {"delta", centers})
    return {
        "architecture": told.text("architecture"),
        "width": told.integer("width"),
        "mean": told.channels("mean", positive=False),
        "std": told.channels("std", positive=True),
    }


def _encoder(fields: Fields, specs: Mapping[str, Spec]) -> dict[str, Any]:
    weights = {name for name in specs if name.startswith(("backbone.", "head."))}
    curves = {name for name in specs if name.startswith("curve.")}
    _refuse(specs.keys() - weights - curves)
    for name in weights:
        _tensor(specs, name, (*_FLOATS, "int64"), specs[name].shape)
    for name in curves:
        _tensor(specs, name, ("float32",), (None,))
    if not any(name.startswith("backbone.") for name in weights):
        raise ArtifactError("the encoder has no backbone; make the file again")
    return {
        "architecture": fields.text("architecture"),
        "width": fields.integer("width"),
        "feature_dim": fields.integer("feature_dim"),
        "algorithm": fields.text("algorithm"),
        "input_size": fields.integer("input_size"),
        "mean": fields.channels("mean", positive=False),
        "std": fields.channels("std", positive=True),
        "source": source_from_json(fields.raw("source")),
    }


def _checkpoint(fields: Fields, specs: Mapping[str, Spec]) -> dict[str, Any]:
    return {"command": fields.text("command", "[0-9a-f]+")}


_DECODERS: dict[str, Callable[[Fields, Mapping[str, Spec]], dict[str, Any]]] = {
    "dataset": _dataset,
    "delta": _delta,
    "encoder": _encoder,
    "checkpoint": _checkpoint,
}


def _tensor(
    specs: Mapping[str, Spec], name: str, dtypes: tuple[str, ...], shape: tuple[int | None, ...]
) -> tuple[int, ...]:
    """Check one tensor and return its shape; None in `shape` stands for any size."""
    if name not in specs:
        raise ArtifactError(f"tensor {name!r} is missing; make the file again")
    spec = specs[name]
    fits = len(spec.shape) == len(shape) and all(
        want in (None, size) for want, size in zip(shape, spec.shape, strict=True)
    )
    if spec.dtype not in dtypes or not fits:
        sizes = ", ".join("any" if n is None else str(n) for n in shape)
        wanted = f"{' or '.join(dtypes)}[{sizes}]"
        raise ArtifactError(f"tensor {name!r} is {spec}, not {wanted}; make the file again")
    return spec.shape


def _refuse(others: Iterable[str]) -> None:
    """Raise if there are tensors that the kind does not have."""
    for name in sorted(others):
        raise ArtifactError(f"tensor {name[:80]!r} is not part of this kind; make the file again")
