"""Coresets: which images to keep. Torch-free until one is used.

Each returns the rows that it keeps, int64, ascending. Adding one is a function in a file here and
an entry of CORESETS.
"""

from typing import NamedTuple


class Coreset(NamedTuple):
    """A way to choose images and what it looks at.

    A function takes, in this order and where it needs them: the embeddings, float [N, d]; the
    classes, int64 [N]; the fraction to keep, in (0, 1]. One that looks at neither takes the number
    of images N in their place.

    Attributes:
        function: "module:function".
        text: what it keeps, a sentence for `--help`.
        embeddings: the key in EMBEDDINGS of those that it compares, or None.
        classes: `latent` where it divides images by latent classes (clusters of an encoder's
            features, or labels), `labels` where by labels, or None.
        is_random: whether the function takes a `seed`.
    """

    function: str
    text: str
    embeddings: str | None = None
    classes: str | None = None
    is_random: bool = False


_HERE = "cptools.core.coresets."

CORESETS = {
    "sas": Coreset(
        _HERE + "sas:sas",
        "SAS: of each latent class the images whose views are most like those of the images left "
        "out, less a penalty for being like each other (Joshi and Mirzasoleiman 2023).",
        embeddings="views",
        classes="latent",
    ),
    "sas-topk": Coreset(
        _HERE + "ranked:sas_topk",
        "What the released code of SAS keeps: the images most like their latent class, without a "
        "penalty.",
        embeddings="images",
        classes="latent",
    ),
    "paper2": Coreset(
        _HERE + "ranked:paper2",
        "The formula of the comparison of MoCo and SimCLR as written: the images least like their "
        "latent class.",
        embeddings="images",
        classes="latent",
    ),
    "random": Coreset(_HERE + "chance:random", "Images drawn at random.", is_random=True),
    "balanced": Coreset(
        _HERE + "chance:balanced",
        "Images drawn at random, the same share of each class.",
        classes="labels",
        is_random=True,
    ),
}

EMBEDDINGS = {
    "views": _HERE + "embeddings:view_embeddings",  # mean over random views
    "images": _HERE + "embeddings:image_embeddings",  # of the images themselves
}
