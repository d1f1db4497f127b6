"""Ways of training that withstand poison for free: changes of a recipe, by name. Torch-free.

`--recipe quick+no-crop+temperature` is the recipe quick with two of them. What each gives back and
costs has been measured on `shapes` (examples/results). Adding one is a function and an entry.
"""

from collections.abc import Callable

from cptools.core.settings import Settings

SHARE = 5  # of the epochs, one in so many is trained where training stops early
COLD = 0.1  # the temperature that was found to withstand poison, for SimCLR's 0.5


def no_crop(values: Settings) -> Settings:
    """Views without random resized crops, which is what poison is made to survive.

    Raises:
        ValueError: there are none.
    """
    views = values["views"].split(",")
    if "crop" not in views or values["crop_area"] == 1:
        raise ValueError("there are no crops")
    shared = [name for name in values["share_views"].split(",") if name != "crop"]
    kept = ",".join(name for name in views if name != "crop")
    return values | {"views": kept, "share_views": ",".join(shared)}


def cold(values: Settings) -> Settings:
    """A temperature of 0.1: positives that are as easy as poison makes them count for less.

    Raises:
        ValueError: there is none, or it is as low already.
    """
    if values.get("temperature", COLD) <= COLD:
        raise ValueError(f"there is no temperature above {COLD}")
    return values | {"temperature": COLD}


def early_stopping(values: Settings) -> Settings:
    """A fifth of the epochs, the schedule along with them: what is learned first is kept.

    Raises:
        ValueError: a fifth of them is none.
    """
    epochs = values["epochs"] // SHARE
    if not epochs:
        raise ValueError(f"there are fewer than {SHARE} epochs")
    return values | {"epochs": epochs, "warmup_epochs": values["warmup_epochs"] // SHARE}


HARDENING: dict[str, Callable[[Settings], Settings]] = {
    "no-crop": no_crop,
    "temperature": cold,
    "early-stopping": early_stopping,
}
