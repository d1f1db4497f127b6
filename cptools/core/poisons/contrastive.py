"""Contrastive Poisoning (He, Zha, Katabi, ICLR 2023): algorithm 1 with a contrastive learner.

The noise makes it easy to align the two views of an image, so that the encoder learns the noise
and not the image. Its gradient flows through the views (section 4.3) and, for learners with a
momentum encoder, through both branches (section 4.2).
"""

from collections.abc import Mapping
from typing import Any

from cptools.core.poisons.alternating import AlternatingPoisoning, alternating
from cptools.core.poisons.base import Task
from cptools.core.poisons.noise import random_noise
from cptools.core.random import stream


def contrastive(task: Task, values: Mapping[str, Any]) -> AlternatingPoisoning:
    """Contrastive Poisoning by the learner that gives the attack its name.

    Args:
        task: what to poison; the noise starts uniform in the ball unless the task says.
        values: a recipe's, with `alg` and `branch`.
    """
    start = random_noise(task.shape, stream(task.seed, "delta"))
    return alternating(task, values["alg"], start, values, dual=values["branch"] == "dual")
