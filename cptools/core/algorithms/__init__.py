"""Learning algorithms. Adding one: a file here, a line in ALGORITHMS, its settings in recipes."""

ALGORITHMS = {
    "simclr": "cptools.core.algorithms.simclr:SimCLR",
    "moco": "cptools.core.algorithms.moco:MoCo",
    "byol": "cptools.core.algorithms.byol:BYOL",
    "simsiam": "cptools.core.algorithms.simsiam:SimSiam",
    "cmc": "cptools.core.algorithms.cmc:CMC",
    "supervised": "cptools.core.algorithms.supervised:Supervised",
    "advsimclr": "cptools.core.algorithms.advsimclr:AdvSimCLR",
    "advcl": "cptools.core.algorithms.advcl:AdvCL",
}
CLUSTERED = ("advcl",)  # learners whose labels are clusters of another encoder's features
