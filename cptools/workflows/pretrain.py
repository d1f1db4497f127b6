"""Train an encoder: `cp.pretrain`, the workflow of `cp-pretrain`."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from cptools.core.defenses import DEFENSES, ON_THE_FLY  # noqa: TID253 - without torch
from cptools.workflows.checkpoints import (
    Work,
    note_queue,
    run_work,
    to_arrays,
    training_tensors,
)
from cptools.workflows.doors import (
    check_artifact,
    check_labeled,
    check_seed,
    check_text,
    check_word,
    naming,
    used_hardware,
)
from cptools.workflows.histories import entry, main_input
from cptools.workflows.logs import check_log, logged
from cptools.workflows.progress import Progress, tracker
from cptools.workflows.pseudo_labels import check_labels_from, pseudo_labels
from cptools.workflows.weights import read_weights, starting_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from cptools.artifacts.schema import Dataset, Entry
    from cptools.artifacts.schema import Encoder as SavedEncoder
    from cptools.core.settings import Settings
    from cptools.core.training import Pretraining
    from cptools.core.views import DrawsViews
    from cptools.workflows.artifacts import Encoder
    from cptools.workflows.weights import Weights


def pretrain_settings(
    alg: str = "simclr",
    *,
    dataset_name: str = "",
    defend: str | None = None,
    defend_at: str | None = None,
    recipe: str = "quick",
    seed: int = 0,
    **settings: Any,
) -> dict[str, Any]:
    """All settings of a training, validated, with the defaults of the recipe; see `pretrain`.

    Args:
        dataset_name: of the dataset; the paper has other settings for ImageNet.

    Raises:
        ValueError: a name, type or value is not valid for the algorithm.
    """
    from cptools.core import recipes
    from cptools.core.algorithms import ALGORITHMS

    with naming("alg"):
        ALGORITHMS.find(alg)
    seed = check_seed(seed)
    values = recipes.resolve(
        recipes.pretrain(recipe, alg=alg, dataset=dataset_name),
        settings,
        context=f"`alg={alg}`",
        table=recipes.pretrain_settings(),
    )
    told: dict[str, Any] = {"alg": alg, "recipe": recipe, "seed": seed, **values}
    return told | _defenses(defend, defend_at)


def _defenses(steps: str | None, at: str | None) -> dict[str, str]:
    """The settings `defend` and `defend_at`, whole; empty where there is no defense."""
    from cptools.core.defenses.steps import parse_steps

    if steps is None:
        if at is not None:
            raise ValueError(f"`defend_at={at}` needs `defend`; give that as well")
        return {}
    check_text(steps, name="defend", such_as="mc:rank=8,jpeg:10")
    at = at or "image"
    check_word(at, tuple(ON_THE_FLY), name="defend_at")
    try:
        whole = parse_steps(steps)
    except ValueError as error:
        raise ValueError(f"`defend={steps}`: {error}") from None
    learning = next((step.name for step in whole if DEFENSES[step.name].learns), None)
    if learning is not None:
        raise ValueError(
            f"`defend={steps}`: {learning} learns from a whole dataset, not from every view; apply"
            " it before, with cp-defend"
        )
    return {"defend": ",".join(map(str, whole)), "defend_at": at}


def pretrain(
    dataset: "Dataset",
    alg: str = "simclr",
    *,
    watch: "Dataset | None" = None,
    labels_from: "SavedEncoder | None" = None,
    init: "SavedEncoder | Weights | str | os.PathLike[str] | None" = None,
    defend: str | None = None,
    defend_at: str | None = None,
    recipe: str = "quick",
    seed: int = 0,
    device: "str | torch.device" = "auto",
    precision: str = "auto",
    checkpoint: "str | os.PathLike[str] | None" = None,
    log: "str | os.PathLike[str] | None" = None,
    progress: Progress = None,
    **settings: Any,
) -> "Encoder":
    """Train an encoder (a victim) by contrastive learning, or with labels (supervised).

    Args:
        dataset: to train on, clean or poisoned.
        alg: the learning algorithm, a key of `cptools.core.algorithms.ALGORITHMS`.
        watch: second dataset, e.g. the clean one, whose loss, alignment and uniformity are
            recorded after each epoch (CP figure 4).
        labels_from: encoder whose features on the training images are clustered into
            pseudo-labels (advcl).
        init: encoder, or file with weights, that the backbone starts from: an artifact, or a state
            dict as a PyTorch file or plain safetensors, from which what does not belong to the
            backbone is left out.
        defend: defenses applied on the fly to every view, e.g. "mc:rank=8,jpeg:10".
        defend_at: `image` (before augmentation) or `view`; None: image.
        recipe: default hyperparameters: `quick` (for two CPU cores) or `paper` (the paper's), and
            what makes them withstand poison, as in `quick+no-crop` (see
            `cptools.core.hardening`).
        seed: random seed, at least 0.
        device: auto, cpu, cuda or cuda:N.
        precision: of the networks: auto, fp32 or bf16.
        checkpoint: file to save progress to and to resume from.
        log: folder for a log for TensorBoard, which nothing of the result depends on.
        progress: whether to show a progress bar; None: only in a notebook.
        **settings: hyperparameters that override the recipe, e.g. `epochs=100`; `encoder` may be
            a "package.module:function" or "timm:NAME".

    Returns:
        The encoder, with its head and training curves.

    Raises:
        ValueError: an argument is invalid, or does not apply to the algorithm.
        FloatingPointError: the training diverged.
    """
    track = tracker(progress)
    check_log(log)
    training = prepare(
        dataset,
        alg,
        watch=watch,
        labels_from=labels_from,
        init=init,
        defend=defend,
        defend_at=defend_at,
        recipe=recipe,
        seed=seed,
        device=device,
        precision=precision,
        **settings,
    )
    shown = logged(track, log, training.work)
    training.run(training.work, progress=shown, checkpoint=checkpoint, command=training.command)
    return training.encoder()


@dataclass(frozen=True)
class Training:
    """A training that is ready to run.

    Attributes:
        told: its settings, all of them.
        work: what runs.
        command: its line of history.
        device: where it runs.
        encoder: makes the artifact of what has been learned so far.
    """

    told: dict[str, Any]
    work: "Pretraining"
    command: "Entry"
    device: "torch.device"
    encoder: "Callable[[], Encoder]"

    def run(
        self,
        work: Work,
        *,
        progress: Progress,
        checkpoint: "str | os.PathLike[str] | None",
        command: "Entry",
    ) -> None:
        """Run `work`, or what does more than that after each epoch; see `run_work`."""
        run_work(
            work,
            total=self.work.epochs,
            done=lambda: len(self.work.history),
            describe=lambda e: f"loss {e.loss:.3f}",
            label=f"training ({self.told['alg']})",
            progress=progress,
            checkpoint=checkpoint,
            command=command,
        )


def prepare(
    dataset: "Dataset",
    alg: str,
    *,
    watch: "Dataset | None" = None,
    labels_from: "SavedEncoder | None" = None,
    init: "SavedEncoder | Weights | str | os.PathLike[str] | None" = None,
    defend: str | None = None,
    defend_at: str | None = None,
    recipe: str = "quick",
    seed: int = 0,
    device: "str | torch.device" = "auto",
    precision: str = "auto",
    **settings: Any,
) -> Training:
    """Check the arguments of `pretrain` and get its training ready.

    Raises:
        ValueError: an argument is invalid, or does not apply to the algorithm.
    """
    from cptools.artifacts.history import dataset_digest, digest
    from cptools.artifacts.schema import Input
    from cptools.core.algorithms import ALGORITHMS
    from cptools.core.build import build_learner
    from cptools.core.lazy import load
    from cptools.core.training import Pretraining, with_prefix
    from cptools.workflows.artifacts import Encoder

    check_artifact(dataset, "dataset", name="dataset")
    told = pretrain_settings(
        alg,
        dataset_name=dataset.name,
        defend=defend,
        defend_at=defend_at,
        recipe=recipe,
        seed=seed,
        **settings,
    )
    check_labels_from(alg, is_given=labels_from is not None)
    if labels_from is None and load(ALGORITHMS[alg].build).needs_classes:
        check_labeled(dataset, f"`alg={alg}`", ", or `alg=simclr`")
    device, bf16 = used_hardware(told, device, precision)
    inputs = main_input(dataset_digest(dataset))
    watched: dict[str, Any] = {}
    if watch is not None:
        check_artifact(watch, "dataset", name="watch")
        _check_same_task(watch, dataset)
        inputs["watch"] = Input(dataset_digest(watch), watch.history, "dataset")
        watched["watch"], watched["watch_labels"] = training_tensors(watch, device)
    images, labels = training_tensors(dataset, device)
    num_classes: int | tuple[int, ...] = len(dataset.classes)
    if labels_from is not None:
        check_artifact(labels_from, "encoder", name="labels_from")
        inputs["labels_from"] = Input(digest(labels_from.arrays()), labels_from.history, "encoder")
        num_classes, (labels, *others) = pseudo_labels(
            labels_from,
            dataset,
            [] if watch is None else [watched["watch"]],
            device,
            seed=told["seed"],
            bf16=bf16,
        )
        if watch is not None:
            (watched["watch_labels"],) = others
    weights: dict[str, Tensor] | None = None
    if init is not None:
        start = read_weights(init, name="init")
        name = load(ALGORITHMS[alg].build).encoder_prefix + told["encoder"]
        weights, inputs["init"] = starting_tensors(start, name, told["width"])
    command = entry("cp-pretrain", told, inputs)
    note_queue(told, len(images))
    learner = build_learner(
        alg,
        cast("Settings", told),
        num_classes=num_classes,
        mean=dataset.mean,
        std=dataset.std,
        device=device,
        bf16=bf16,
        seed=told["seed"],
        size=images.shape[-1],
        weights=weights,
    )
    work = Pretraining(
        images,
        labels,
        learner,
        _views(told, dataset),
        epochs=told["epochs"],
        batch_size=told["batch_size"],
        warmup_epochs=told["warmup_epochs"],
        warmup_lr=told["warmup_lr"],
        seed=told["seed"],
        **watched,
    )

    def encoder() -> Encoder:
        algorithm = learner.algorithm
        tensors = (
            with_prefix("backbone", algorithm.encoder.state_dict())
            | with_prefix("head", algorithm.head.state_dict())
            | with_prefix("curve", work.curves())
        )
        return Encoder(
            to_arrays(tensors),
            architecture=algorithm.encoder_prefix + told["encoder"],
            width=told["width"],
            feature_dim=algorithm.encoder.feature_dim,
            algorithm=alg,
            input_size=images.shape[-1],
            mean=dataset.mean,
            std=dataset.std,
            source=dataset.source,
            history=(*dataset.history, command),
        )

    return Training(told, work, command, device, encoder)


def _views(told: dict[str, Any], dataset: "Dataset") -> "DrawsViews":
    """The views of the settings, with the defenses that are applied on the fly."""
    from cptools.core.build import build_views
    from cptools.core.defenses.steps import defender, parse_steps
    from cptools.core.lazy import load

    size = dataset.train_images.shape[-1]
    views = build_views(cast("Settings", told), size=size, mean=dataset.mean, std=dataset.std)
    if "defend" not in told:
        return views
    defended: DrawsViews = load(ON_THE_FLY[told["defend_at"]])(
        views, defender(parse_steps(told["defend"]))
    )
    return defended


def _check_same_task(watch: "Dataset", dataset: "Dataset") -> None:
    size, wanted = watch.train_images.shape[-1], dataset.train_images.shape[-1]
    if size != wanted or watch.classes != dataset.classes:
        raise ValueError(
            f"`watch` has {size}-pixel images of {len(watch.classes)} classes, the input has"
            f" {wanted}-pixel images of {len(dataset.classes)}; give the clean dataset of the input"
        )
