"""Contrastive learning algorithms. Adding one: a file here and a line in ALGORITHMS."""

ALGORITHMS = {
    "simclr": "cptools.core.algorithms.simclr:SimCLR",
    "moco": "cptools.core.algorithms.moco:MoCo",
    "byol": "cptools.core.algorithms.byol:BYOL",
}
