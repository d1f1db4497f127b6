"""A noise step of Contrastive Poisoning: ours against per-image torchvision and against kornia.

Run ``python tests/benchmarks/noise_step.py``. All take the same step, the gradient of the NT-Xent
loss of a poisoned batch to its noise and one sign step, through the same encoder; only the views
differ: torchvision's differentiable transforms of tensors, image by image (as CP's released code
loops over images), kornia's batched ones where kornia is installed, and ours. The methods take
turns and the best round of each counts.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torchvision import transforms
from views import MEAN, STD, best_times  # beside this file

from cptools.core.build import build_learner
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.budget import perturb, pgd_step
from cptools.core.views import Views, normalize

Augment = Callable[[Tensor], Tensor]


def torchvision_views(size: int) -> Augment:
    """torchvision's transforms of tensors, one image after the other."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(size, scale=(0.2, 1.0), antialias=True),
            transforms.RandomHorizontalFlip(),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.Normalize(MEAN, STD),
        ]
    )
    return lambda x: torch.stack([transform(image) for image in x])


def kornia_views(size: int) -> Augment:
    """kornia's batched transforms, with the same strengths."""
    import kornia.augmentation as k

    transform = nn.Sequential(
        k.RandomResizedCrop((size, size), scale=(0.2, 1.0)),
        k.RandomHorizontalFlip(),
        k.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        k.RandomGrayscale(p=0.2),
    )
    return lambda x: normalize(transform(x), MEAN, STD)


def main() -> None:
    """Measures and prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--image", type=int, default=32, help="side of the images")
    parser.add_argument("--recipe", choices=("quick", "paper"), default="quick")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    values = ATTACKS["simclr"].settings(options.recipe, "sample")
    learner = build_learner(
        "simclr", values, num_classes=10, mean=MEAN, std=STD, device=torch.device("cpu"),
        bf16=False, seed=0,
    )  # fmt: skip
    learner.algorithm.eval()

    generator = torch.Generator().manual_seed(0)
    shape = (options.batch, 3, options.image, options.image)
    x, delta = (torch.rand(shape, generator=generator) for _ in range(2))
    labels = torch.arange(options.batch)

    def step(augment: Callable[[Tensor, torch.Generator, int], Tensor]) -> Callable[[], object]:
        def once() -> Tensor:
            noise = delta.detach().requires_grad_()
            loss = learner.loss(perturb(x, noise, "8/255"), labels, augment, generator)
            (gradient,) = torch.autograd.grad(loss, noise)
            return pgd_step(delta, gradient, step_size=0.1)

        return once

    rivals = {"torchvision, image by image": torchvision_views(options.image)}
    if importlib.util.find_spec("kornia"):
        rivals["kornia, batched"] = kornia_views(options.image)
    steps = {"cptools": step(Views(options.image, MEAN, STD))}
    for name, augment in rivals.items():
        steps[name] = step(lambda y, _, __, augment=augment: augment(y))
    times = best_times(steps, options.rounds)
    sys.stdout.write(
        f"batch {options.batch}, {options.image} pixels, {values['encoder']} of width"
        f" {values['width']}, {options.threads} threads, best of {options.rounds}\n"
    )
    for name, seconds in times.items():
        sys.stdout.write(
            f"{name:28} {1000 * seconds:8.1f} ms a step   {seconds / times['cptools']:5.2f} times\n"
        )


if __name__ == "__main__":
    main()
