"""Steps of training and of the attack: ``python tests/benchmarks/step.py [--recipe paper]``.

A model step and a noise step of algorithm 1 (CP), as `cp-pretrain` and `cp-generate` take them,
with their views; beside them the network's forward and backward pass alone, and a matrix product,
which is what the hardware gives at best. Share of peak: floating-point operations of the network's
passes over the time of the model step, over the rate of the product. Medians of interleaved rounds.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from views import MEAN, STD  # beside this file

from cptools.core.build import build_learner, build_views
from cptools.core.checks import to_float
from cptools.core.device import choose_bf16, choose_device
from cptools.core.poisons import ATTACKS
from cptools.core.poisons.budget import perturb, pgd_step
from cptools.core.views import draw_views

PRODUCT = {"cuda": 8192, "cpu": 1024}  # side of the matrices


def seconds(once: Callable[[], object], device: torch.device, *, repeat: int) -> float:
    """Time of a call, the device's work included."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(repeat):
        once()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / repeat


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alg", default="simclr")
    parser.add_argument("--recipe", choices=("quick", "paper"), default="quick")
    parser.add_argument("--batch", type=int, help="images a batch, instead of the recipe's")
    parser.add_argument("--image", type=int, default=32, help="side of the images")
    parser.add_argument("--width", type=int, help="of the encoder, instead of the recipe's")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=10, help="steps a round")
    parser.add_argument("--profile", action="store_true", help="the five most expensive operations")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    device = choose_device(options.device)
    bf16 = choose_bf16(options.precision, device)
    values = dict(ATTACKS[options.alg].settings(options.recipe, "class"))
    values["width"] = options.width or values["width"]
    batch = options.batch or int(values["batch_size"])
    learner = build_learner(
        options.alg, values, num_classes=10, mean=MEAN, std=STD, device=device, bf16=bf16, seed=0,
        size=options.image,
    )  # fmt: skip
    views = build_views(values, size=options.image, mean=MEAN, std=STD)
    rng = torch.Generator().manual_seed(0)
    shape = (batch, 3, options.image, options.image)
    images = torch.randint(256, shape, generator=rng, dtype=torch.uint8).to(device)
    labels = torch.arange(batch, device=device) % 10
    delta = torch.zeros(10, *shape[1:], device=device)
    drawn = [view.detach() for view in draw_views(views, to_float(images), 2, rng)]

    def model_step() -> None:
        x = perturb(to_float(images), delta[labels], "8/255")
        learner.step(x, labels, views, rng)

    def noise_step() -> None:
        noise = delta.detach().requires_grad_()
        x = perturb(to_float(images), noise[labels], "8/255")
        (gradient,) = torch.autograd.grad(learner.loss(x, labels, views, rng), noise)
        pgd_step(delta, gradient, step_size=0.1)

    def passes() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = learner.algorithm.loss(*drawn, labels=labels)
        loss.backward()  # type: ignore[no-untyped-call]

    side = PRODUCT[device.type]
    dtype = torch.bfloat16 if bf16 else torch.float32
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    kinds: dict[str, Callable[[], object]] = {
        "model step": model_step,
        "noise step": noise_step,
        "passes alone": passes,
        "matrix product": lambda: left @ right,
    }
    with FlopCounterMode(display=False) as counter:
        passes()
    operations = counter.get_total_flops()

    times: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(options.rounds + 1):
        for name, once in kinds.items():
            taken = seconds(once, device, repeat=options.repeat)
            if turn:  # the first is to warm up
                times[name].append(taken)
    median = {name: statistics.median(taken) for name, taken in times.items()}
    rate = 2 * side**3 / median["matrix product"]
    found = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__, "threads": torch.get_num_threads(),
        "alg": options.alg, "encoder": values["encoder"], "width": values["width"],
        "batch_size": batch, "bf16": bf16,
        **{f"{name} (ms)": round(1000 * taken, 3) for name, taken in median.items()},
        "images a second": round(batch / median["model step"], 1),
        "operations of a step (TFLOP)": round(operations / 1e12, 4),
        "matrix product (TFLOP/s)": round(rate / 1e12, 3),
        "share of peak": round(operations / median["model step"] / rate, 3),
    }  # fmt: skip
    if options.json:
        sys.stdout.write(f"{json.dumps(found)}\n")
    else:
        sys.stdout.writelines(f"{name:32} {value}\n" for name, value in found.items())
    if options.profile:
        with torch.profiler.profile() as profile:
            for _ in range(options.repeat):
                model_step()
            if device.type == "cuda":
                torch.cuda.synchronize()
        key = f"self_{device.type}_time_total"
        sys.stderr.write(profile.key_averages().table(sort_by=key, row_limit=5))


if __name__ == "__main__":
    main()
