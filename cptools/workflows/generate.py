"""Poison a dataset: `cp.generate`, the workflow of `cp-generate`."""

import math
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from cptools.core.poisons import ATTACKS, attack_settings  # noqa: TID253 - without torch
from cptools.workflows.checkpoints import note_queue, run_work, to_arrays, training_tensors
from cptools.workflows.deltas import check_fits
from cptools.workflows.doors import (
    check_artifact,
    check_flag,
    check_labeled,
    check_seed,
    check_word,
    naming,
    read_epsilon,
    used_hardware,
)
from cptools.workflows.histories import entry, main_input
from cptools.workflows.logs import check_log, logged
from cptools.workflows.progress import Progress, tracker
from cptools.workflows.weights import read_weights, starting_tensors

if TYPE_CHECKING:
    import os

    import torch
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Delta, Encoder, Input
    from cptools.workflows.weights import Weights


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
    mode = attack.modes[0] if mode is None else mode
    check_word(mode, ("class", "sample"), name="mode")
    if mode not in attack.modes:
        raise ValueError(f"`alg={alg}` has no mode {mode}; give `mode={' or '.join(attack.modes)}`")
    values = resolve(
        attack.settings(recipe, mode), settings, context=f"`alg={alg}`", table=attack_settings()
    )
    epsilon = attack.epsilon if epsilon is None else epsilon
    radius = read_epsilon(epsilon)
    # Deltas hold fractions; a fraction stays as it was written.
    is_written = isinstance(epsilon, str) and "/" in epsilon
    told = "".join(str(epsilon).split()) if is_written else str(radius)
    return {
        "alg": alg, "mode": mode, "epsilon": told, "recipe": recipe, "seed": seed, **values,
        **({"half": True} if half else {}),
    }  # fmt: skip


def generate(
    dataset: "Dataset",
    alg: str = "simclr",
    mode: str | None = None,
    *,
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
        epsilon: L-infinity bound, for pixels in [0, 1]; None: the attack's, "8/255" or,
            of `autoregressive` and `one-pixel`, "1".
        init: initial perturbation; a class-wise one is expanded to each image.
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
        alg, mode, epsilon=epsilon, half=half, recipe=recipe, seed=seed, **settings
    )
    _check_labels(dataset, told)
    device, bf16 = used_hardware(told, device, precision)
    clean_digest = dataset_digest(dataset)
    inputs = main_input(clean_digest)
    if init is not None:
        check_artifact(init, "delta", name="init")
        check_fits(init, dataset, clean_digest, name="init")
        inputs["init"] = Input(digest(init.arrays()), init.history, "delta")
    weights: dict[str, Tensor] | None = None
    if encoder_init is not None:
        start = read_weights(encoder_init, name="encoder_init")
        weights, inputs["encoder_init"] = _weights(start, told)
    command = entry("cp-generate", told, inputs)

    images, labels = training_tensors(dataset, device)
    note_queue(told, len(images))
    radius = parse_epsilon(told["epsilon"])
    problem = Problem(
        images,
        labels,
        num_classes=len(dataset.classes),
        mean=dataset.mean,
        std=dataset.std,
        mode=told["mode"],
        epsilon=radius,
        seed=told["seed"],
        init=None if init is None else _start(init, told["mode"], labels.cpu()),
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


def _check_labels(dataset: "Dataset", told: dict[str, Any]) -> None:
    """Refuse images without labels, unless each gets noise of its own by a learner without any."""
    from cptools.core.algorithms import ALGORITHMS
    from cptools.core.lazy import load

    alg, modes = told["alg"], ATTACKS.find(told["alg"]).modes
    is_blind = alg in ALGORITHMS and not load(ALGORITHMS[alg].build).needs_classes
    if told["mode"] == "class":
        instead = ", or `mode=sample`" if is_blind and "sample" in modes else ""
        check_labeled(dataset, "`mode=class`", instead)
    elif not is_blind:
        check_labeled(dataset, f"`alg={alg}`", ", or `alg=simclr`")


def _start(init: "Delta", mode: str, labels: "Tensor") -> "Tensor":
    """Where the noise starts: a delta of the mode, or a class-wise one copied to each image."""
    import torch

    start = torch.from_numpy(init.delta).float()
    if init.mode == mode:
        return start
    if init.mode == "class":
        return start[labels]
    raise ValueError(
        "`init`: a sample-wise delta cannot initialize a class-wise one; give `mode=sample`"
    )
