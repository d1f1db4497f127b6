"""Poison a dataset: `cp.generate`, the workflow of `cp-generate`."""

import logging
import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.core.poisons import ATTACKS, attack_settings  # noqa: TID253 - without torch
from cptools.workflows.checkpoints import note_queue, run_work, to_arrays, training_tensors
from cptools.workflows.deltas import rows_of_classes, rows_of_images
from cptools.workflows.doors import (
    check_artifact,
    check_count,
    check_flag,
    check_seed,
    check_word,
    naming,
    read_epsilon,
    used_hardware,
)
from cptools.workflows.groups import check_groups, make_groups, make_labeler
from cptools.workflows.histories import changes, entry, main_input
from cptools.workflows.logs import check_log, logged
from cptools.workflows.progress import Progress, tracker
from cptools.workflows.weights import read_weights, starting_tensors

if TYPE_CHECKING:
    import os

    import torch
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Delta, Encoder, Input
    from cptools.workflows.weights import Weights

_log = logging.getLogger(__name__)


class Poisoned(NamedTuple):
    """The result of an attack.

    Attributes:
        dataset: with poisoned training images and the test images as they were.
        delta: the perturbation, for the owner of the clean images.
    """

    dataset: "Dataset"
    delta: "Delta"


def generate_settings(
    alg: str = "simclr",
    mode: str | None = None,
    *,
    clusters: int | None = None,
    epsilon: "str | float | Fraction | None" = None,
    half: bool = False,
    recipe: str = "quick",
    seed: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """All settings of an attack, validated, with the defaults of the recipe; see `generate`.

    Raises:
        ValueError: a name, type or value is not valid for the attack.
    """
    from cptools.core.recipes import check_recipe, resolve

    with naming("alg"):
        attack = ATTACKS.find(alg)
    check_recipe(recipe)
    check_flag(half, name="half")
    seed = check_seed(seed)
    if clusters is not None:
        clusters = check_count(clusters, name="clusters", least=2)
        if "class" not in attack.modes:
            raise ValueError(f"`clusters` does not apply to `alg={alg}`; leave it out")
    mode = mode or ("class" if clusters else attack.modes[0])
    check_word(mode, ("class", "sample"), name="mode")
    if mode not in attack.modes:
        raise ValueError(f"`alg={alg}` has no mode {mode}; give `mode={' or '.join(attack.modes)}`")
    if clusters and mode != "class":
        raise ValueError(f"`clusters` does not apply to `mode={mode}`; leave one of them out")
    values = resolve(
        attack.settings(recipe, mode), settings, context=f"`alg={alg}`", table=attack_settings()
    )
    if not values.get("survive", True):
        del values["survive"]  # histories are those of before there was such a setting
    epsilon = attack.epsilon if epsilon is None else epsilon
    radius = read_epsilon(epsilon)
    # Deltas hold fractions; a fraction stays as it was written.
    is_written = isinstance(epsilon, str) and "/" in epsilon
    told = "".join(str(epsilon).split()) if is_written else str(radius)
    return {
        "alg": alg, "mode": mode, "epsilon": told, "recipe": recipe, "seed": seed, **values,
        **({"half": True} if half else {}), **({"clusters": clusters} if clusters else {}),
    }  # fmt: skip


def generate(
    dataset: "Dataset",
    alg: str = "simclr",
    mode: str | None = None,
    *,
    clusters: int | None = None,
    labels_from: "Encoder | None" = None,
    epsilon: "str | float | Fraction | None" = None,
    init: "Delta | None" = None,
    encoder_init: "Encoder | Weights | str | os.PathLike[str] | None" = None,
    half: bool = False,
    recipe: str = "quick",
    seed: int = 0,
    device: "str | torch.device" = "auto",
    precision: str = "auto",
    checkpoint: "str | os.PathLike[str] | None" = None,
    log: "str | os.PathLike[str] | None" = None,
    progress: Progress = None,
    **settings: Any,
) -> Poisoned:
    """Poison a dataset, by Contrastive Poisoning (He, Zha, Katabi, ICLR 2023) or another attack.

    Args:
        dataset: the clean one; its training images are poisoned.
        alg: the attack, a key of `cptools.core.poisons.ATTACKS`; a contrastive learner means
            Contrastive Poisoning (algorithm 1 of its paper).
        mode: `class` (one perturbation per class) or `sample` (one per image); None: the attack's.
        clusters: class-wise without labels: a perturbation for each of as many k-means clusters of
            an encoder's features on the training images; the delta carries the encoder and the
            centers, by which later images get theirs. Labels are not looked at.
        labels_from: the encoder of `clusters`; None: SimCLR of the quick recipe, trained on the
            same images.
        epsilon: L-infinity bound, for pixels in [0, 1]; None: the attack's, "8/255" or,
            of `autoregressive` and `one-pixel`, "1".
        init: initial perturbation; a class-wise one may be of other images, and is expanded to each
            image in mode `sample`. One of clusters brings them along.
        encoder_init: encoder, or file with weights, that the attacker's encoder starts from in
            place of the seed's; as `init` of `cp.pretrain`.
        half: store the delta in float16, and poison with it.
        recipe: default hyperparameters: `quick` (for two CPU cores) or `paper` (the paper's).
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        precision: of the networks: auto, fp32 or bf16.
        checkpoint: file to save progress to and to resume from.
        log: folder for a log for TensorBoard, which nothing of the result depends on.
        progress: whether to show a progress bar; None: only in a notebook.
        **settings: hyperparameters that override the recipe, e.g. `rounds=10`.

    Returns:
        The poisoned dataset and the delta, their histories included. No pixel differs from the
        clean one by more than floor(255 epsilon) gray levels.

    Raises:
        ValueError: an argument is invalid, or does not apply to the attack.
        FloatingPointError: the training diverged.
    """
    import torch

    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Delta, Input
    from cptools.core.epsilon import parse_epsilon
    from cptools.core.lazy import load
    from cptools.core.poisons.base import Poisoning, Problem
    from cptools.core.poisons.budget import check_bound, poison_uint8

    check_artifact(dataset, "dataset", name="dataset")
    track = tracker(progress)
    check_log(log)
    told = generate_settings(
        alg, mode, clusters=clusters, epsilon=epsilon, half=half, recipe=recipe, seed=seed,
        **settings,
    )  # fmt: skip
    if init is not None:
        check_artifact(init, "delta", name="init")
    if labels_from is not None:
        check_artifact(labels_from, "encoder", name="labels_from")
    check_groups(dataset, told, init, labels_from)
    if "poison" in changes(dataset.history):
        _log.warning(
            "these images are poisoned already; from the clean ones they will differ by more than"
            " `epsilon=%s`",
            told["epsilon"],
        )
    device, bf16 = used_hardware(told, device, precision)
    clean_digest = dataset_digest(dataset)
    inputs = main_input(clean_digest)
    weights: dict[str, Tensor] | None = None
    if encoder_init is not None:
        start = read_weights(encoder_init, name="encoder_init")
        weights, inputs["encoder_init"] = _weights(start, told)
    first = None
    if init is not None:
        first = _start(init, dataset, clean_digest, told["mode"])
        inputs["init"] = Input(digest(init.arrays()), init.history, "delta")
    if clusters is not None and labels_from is None:
        labels_from = make_labeler(dataset, told, device, checkpoint, progress)
    if labels_from is not None:
        inputs["labels_from"] = Input(digest(labels_from.arrays()), labels_from.history, "encoder")
    groups = make_groups(dataset, told, device, init, labels_from)
    command = entry("cp-generate", told, inputs)

    images, _ = training_tensors(dataset, device)
    note_queue(told, len(images))
    radius = parse_epsilon(told["epsilon"])
    problem = Problem(
        images,
        torch.from_numpy(groups.labels).to(device),
        num_classes=groups.num,
        mean=dataset.mean,
        std=dataset.std,
        mode=told["mode"],
        epsilon=radius,
        seed=told["seed"],
        init=first,
        bf16=bf16,
        weights=weights,
    )
    work: Poisoning = load(ATTACKS.find(alg).build)(problem, told)
    run_work(
        work,
        total=work.total,
        done=lambda: work.round,
        describe=lambda r: "" if math.isnan(r.loss) else f"loss {r.loss:.3f}",
        label=f"poisoning ({alg}, {told['mode']}-wise)",
        progress=logged(track, log, work),
        checkpoint=checkpoint,
        command=command,
    )
    delta = work.delta.half() if half else work.delta
    poisoned = poison_uint8(images, delta, problem.rows, radius)
    check_bound(images, poisoned, radius)
    history = (*dataset.history, command)
    noise = Delta(
        to_arrays({"delta": delta})["delta"],
        mode=told["mode"],
        epsilon=told["epsilon"],
        algorithm=alg,
        dataset=clean_digest,
        history=history,
        classes=dataset.classes if told["mode"] == "class" and groups.assigner is None else (),
        assigner=groups.assigner,
    )
    return Poisoned(replace(dataset, train_images=poisoned.cpu().numpy(), history=history), noise)


def _weights(start: "Encoder | Weights", told: dict[str, Any]) -> "tuple[dict[str, Tensor], Input]":
    """The tensors that the attacker's encoder starts from, and what the history says of them."""
    from cptools.core.algorithms import ALGORITHMS
    from cptools.core.lazy import load

    alg = told["alg"]
    if "encoder" not in told:
        raise ValueError(f"`encoder_init` does not apply to `alg={alg}`; leave it out")
    prefix = load(ALGORITHMS[alg].build).encoder_prefix if alg in ALGORITHMS else ""
    name = prefix + told["encoder"]
    return starting_tensors(start, name, told["width"], "encoder_init")


def _start(init: "Delta", dataset: "Dataset", digest: str, mode: str) -> "Tensor":
    """Where the noise starts: a delta of the mode, or a class-wise one copied to each image."""
    import torch

    start = torch.from_numpy(init.delta).float()
    if mode == "sample":
        rows = rows_of_images(init, dataset, digest, name="init")
        return start if init.mode == "sample" else start[torch.from_numpy(rows)]
    if init.mode == "sample":
        raise ValueError(
            "`init`: a sample-wise delta cannot initialize a class-wise one; give `mode=sample`"
        )
    if init.assigner is not None:
        return start
    return start[torch.from_numpy(rows_of_classes(init, dataset, digest, name="init"))]
