"""Learning algorithms. Adding one: a file here and an entry of ALGORITHMS. Torch-free.

`paper`: CP table 9 and appendix B and, where the paper's text is silent, its official code.
`quick`: the miniature for two CPU cores, found by measurement on the built-in `shapes`.
"""

from collections.abc import Mapping
from typing import NamedTuple

from cptools.core.plugins import Registry, check_spec
from cptools.core.presets import WEAK_VIEWS
from cptools.core.settings import Setting, Settings, check_entry


class Algorithm(NamedTuple):
    """An entry of ALGORITHMS.

    A recipe holds what differs from `cptools.core.presets` (views, network, optimizer) and from the
    schedule of `cptools.core.recipes.pretrain`, and what the class takes besides.

    Attributes:
        build: "module:Class" of a `cptools.core.algorithms.base.Algorithm`.
        quick: settings of the recipe for two CPU cores, `epochs` among them.
        paper: settings of the paper.
        is_clustered: whether its labels are clusters of another encoder's features.
        own_settings: settings that no other algorithm has; the class takes them by their names.
    """

    build: str
    quick: Settings
    paper: Settings
    is_clustered: bool = False
    own_settings: Mapping[str, Setting] = {}

    def learner(self, recipe: str) -> Settings:
        """The settings of a recipe less those of the schedule: what an attack has of them."""
        values = (self.quick if recipe == "quick" else self.paper).copy()
        values.pop("epochs", None)
        values.pop("warmup_epochs", None)
        values.pop("warmup_lr", None)
        return values


def _check(_: str, algorithm: Algorithm) -> None:
    check_spec(algorithm.build)
    others = [other.own_settings for other in ALGORITHMS.values()]
    check_entry([algorithm.quick, algorithm.paper], algorithm.own_settings, others)


_HERE = "cptools.core.algorithms."

# solo-learn's recipes for CIFAR-10 (vturrisi/solo-learn, scripts/pretrain/cifar), 1000 epochs each.
# It solarizes a fifth of the second views (vicreg: a tenth of both), jitters saturation by 0.2,
# where views here do by 0.4, as CP's, and clips LARS.
_SOLO: Settings = {
    "crop_area": 0.08, "batch_size": 256, "optimizer": "lars", "lr": 0.3, "weight_decay": 1e-4,
    "min_lr": 0.0, "warmup_lr": 3e-5, "loss_scale": 1.0,
}  # fmt: skip

ALGORITHMS = Registry(
    "algorithm",
    Algorithm,
    {
        # loss_scale of CP's three: the official code's on four GPUs.
        "simclr": Algorithm(
            _HERE + "simclr:SimCLR",
            quick={
                "loss": "nt-xent", "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5,
                "head_hidden": 64, "head_dim": 64,
            },
            paper={
                "loss": "nt-xent",
                "lr": 0.5, "loss_scale": 1.786, "temperature": 0.5,
                "head_hidden": 512, "head_dim": 128,
            },
        ),
        "moco": Algorithm(
            _HERE + "moco:MoCo",
            quick={
                "loss": "infonce", "epochs": 100,
                "lr": 1e-3, "loss_scale": 1.0, "temperature": 0.2,
                "head_hidden": 64, "head_dim": 64, "ema": 0.99, "queue_size": 512,
            },
            paper={
                "loss": "infonce",
                "lr": 0.3, "loss_scale": 2.857, "temperature": 0.2,
                "head_hidden": 512, "head_dim": 128, "ema": 0.99, "queue_size": 4096,
            },
        ),
        "byol": Algorithm(
            _HERE + "byol:BYOL",
            quick={
                "epochs": 60,
                "lr": 3e-3, "weight_decay": 0.3, "loss_scale": 1.0,
                "head_hidden": 256, "head_dim": 64, "ema": 0.99,
            },
            paper={
                "lr": 1.0, "loss_scale": 0.25, "head_hidden": 4096, "head_dim": 256, "ema": 0.999,
            },
        ),
        # Chen and He 2021, appendix D, at batch 512: learning rate 0.03 batch / 256, weight decay
        # 5e-4.
        "simsiam": Algorithm(
            _HERE + "simsiam:SimSiam",
            quick={
                "epochs": 60,
                "lr": 3e-3, "loss_scale": 1.0, "head_hidden": 256, "head_dim": 64,
            },
            paper={
                "lr": 0.06, "weight_decay": 5e-4, "loss_scale": 1.0,
                "head_hidden": 2048, "head_dim": 2048,
            },
        ),
        # Tian et al. 2020, section 4.2 and their official code: learning rate 0.03 at batch 128,
        # crops and flips alone (gray images have no color to be told by); beside SimCLR and MoCo in
        # everything else.
        "cmc": Algorithm(
            _HERE + "cmc:CMC",
            quick={
                "views": "crop,flip", "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.07,
                "head_hidden": 64, "head_dim": 64,
            },
            paper={
                "views": "crop,flip",
                "lr": 0.12, "loss_scale": 1.0, "temperature": 0.07,
                "head_hidden": 512, "head_dim": 128,
            },
        ),
        # The paper (Zbontar et al. 2021): 8192 dimensions and a loss times 0.024, on ImageNet.
        "barlow-twins": Algorithm(
            _HERE + "barlow_twins:BarlowTwins",
            quick={
                "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "head_hidden": 256, "head_dim": 256,
                "redundancy_weight": 0.005,
            },
            paper=_SOLO | {
                "loss_scale": 0.1, "head_hidden": 2048, "head_dim": 2048,
                "redundancy_weight": 0.005,
            },
        ),
        # The paper (Bardes et al. 2022): 8192 dimensions on ImageNet, the same weights.
        "vicreg": Algorithm(
            _HERE + "vicreg:VICReg",
            quick={
                "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "head_hidden": 256, "head_dim": 256,
                "invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0,
            },
            paper=_SOLO | {
                "crop_area": 0.2, "head_hidden": 2048, "head_dim": 2048,
                "invariance_weight": 25.0, "variance_weight": 25.0, "covariance_weight": 1.0,
            },
        ),
        # The paper (Dwibedi et al. 2021): tau 0.1 and a support set of 98,304, on ImageNet.
        "nnclr": Algorithm(
            _HERE + "nnclr:NNCLR",
            quick={
                "epochs": 30,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.2,
                "head_hidden": 128, "head_dim": 64, "queue_size": 512,
            },
            paper=_SOLO | {
                "lr": 0.4, "weight_decay": 1e-5, "temperature": 0.2,
                "head_hidden": 2048, "head_dim": 256, "queue_size": 65536,
            },
        ),
        # The official code (Chen, Xie and He 2021), ResNet-50 on ImageNet: tau 1, LARS.
        "moco-v3": Algorithm(
            _HERE + "moco_v3:MoCoV3",
            quick={
                "epochs": 30,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.2,
                "head_hidden": 256, "head_dim": 64, "ema": 0.99,
            },
            paper=_SOLO | {
                "weight_decay": 1e-6, "temperature": 0.2,
                "head_hidden": 4096, "head_dim": 256, "ema": 0.99,
            },
        ),
        # The paper (Caron et al. 2021): 65,536 outputs on ImageNet. solo-learn has no local views
        # on CIFAR: number and areas (the global views' as well) are the official code's, their
        # size, half the image's, is ours.
        "dino": Algorithm(
            _HERE + "dino:DINO",
            quick={
                "crop_area": 0.4, "epochs": 25,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.1,
                "head_hidden": 128, "head_dim": 64, "ema": 0.99, "prototypes": 256,
                "frozen_epochs": 1, "teacher_temperature": 0.07, "teacher_start": 0.04,
                "teacher_warmup": 10, "local_views": 2, "local_size": 16, "local_area": 0.05,
            },
            paper=_SOLO | {
                "crop_area": 0.4, "weight_decay": 1e-6, "temperature": 0.1,
                "head_hidden": 2048, "head_dim": 256, "ema": 0.9995, "prototypes": 4096,
                "frozen_epochs": 1, "teacher_temperature": 0.07, "teacher_start": 0.04,
                "teacher_warmup": 50, "local_views": 8, "local_size": 16, "local_area": 0.05,
            },
        ),
        # The official code (Caron et al. 2020): a queue for small batches alone, from epoch 15 on.
        # solo-learn has no local views on CIFAR: number and areas are that code's, their size is
        # ours.
        "swav": Algorithm(
            _HERE + "swav:SwAV",
            quick={
                "crop_area": 0.5, "epochs": 30,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.1,
                "head_hidden": 128, "head_dim": 64, "prototypes": 64, "sinkhorn_epsilon": 0.05,
                "queue_size": 256, "queue_start": 10, "frozen_epochs": 1,
                "local_views": 2, "local_size": 16, "local_area": 0.2,
            },
            paper=_SOLO | {
                "views": "crop,flip,jitter,gray,blur", "jitter": 2.0, "crop_area": 0.14,
                "lr": 0.6, "weight_decay": 1e-6, "temperature": 0.1,
                "head_hidden": 2048, "head_dim": 128, "prototypes": 3000,
                "sinkhorn_epsilon": 0.05, "queue_size": 3840, "queue_start": 50,
                "frozen_epochs": 2, "local_views": 6, "local_size": 16, "local_area": 0.05,
            },
        ),
        # solo-learn's beta2 of AdamW is 0.95, here it is 0.999.
        "mae": Algorithm(
            _HERE + "mae:MAE",
            quick={
                "encoder": "vit-tiny", "width": 48, "views": "crop,flip", "epochs": 20,
                "lr": 2e-3, "weight_decay": 0.05, "loss_scale": 1.0,
                "mask_ratio": 0.75, "decoder_width": 64, "decoder_layers": 2,
            },
            paper=_SOLO | {
                "encoder": "vit-small", "width": 384, "views": "crop,flip",
                "optimizer": "adamw", "lr": 2e-4, "weight_decay": 0.05,
                "mask_ratio": 0.75, "decoder_width": 512, "decoder_layers": 8,
            },
        ),
        # The official code (Khosla et al. 2020) on CIFAR-10: tau 0.1, batch 1024, lr 0.5; views of
        # solo-learn: jitter of twice the strength, and blur.
        "supcon": Algorithm(
            _HERE + "supcon:SupCon",
            quick={
                "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.2,
                "head_hidden": 64, "head_dim": 64,
            },
            paper=_SOLO | {
                "views": "crop,flip,jitter,gray,blur", "jitter": 2.0,
                "optimizer": "sgd", "lr": 0.4, "weight_decay": 1e-5, "temperature": 0.2,
                "head_hidden": 2048, "head_dim": 256,
            },
        ),
        # CP names no settings for table 4: those of the supervised poisons it compares with
        # (Huang et al. 2021), unconfirmed.
        "supervised": Algorithm(
            _HERE + "supervised:Supervised",
            quick=WEAK_VIEWS | {"epochs": 30, "lr": 3e-3, "loss_scale": 1.0},
            paper=WEAK_VIEWS | {
                "epochs": 100, "warmup_epochs": 0, "batch_size": 128,
                "lr": 0.1, "weight_decay": 5e-4, "loss_scale": 1.0,
            },
        ),
        # Adversarial training as Fu et al. 2022 train the victims of their robust noise; quick: a
        # quarter of the radius, for images of a quarter of the contrast.
        "advsupervised": Algorithm(
            _HERE + "advsupervised:AdvSupervised",
            quick=WEAK_VIEWS | {
                "epochs": 30, "lr": 3e-3, "loss_scale": 1.0,
                "adv_epsilon": "1/255", "adv_steps": 3, "adv_step_size": 0.5,
            },
            paper=WEAK_VIEWS | {
                "epochs": 100, "warmup_epochs": 0, "batch_size": 128,
                "lr": 0.1, "weight_decay": 5e-4, "loss_scale": 1.0,
                "adv_epsilon": "4/255", "adv_steps": 10, "adv_step_size": 0.2,
            },
        ),
        # The paper (Qin et al. 2023, section 5): 5 draws; their code: plasma of strength 0.5 to 1.
        # Schedule and network are those of the supervised victim. Quick: a quarter of the plasma,
        # for images of a quarter of the contrast, as of QUICK_VIEWS.
        "ueraser": Algorithm(
            _HERE + "ueraser:UEraser",
            quick=WEAK_VIEWS | {
                "epochs": 30, "lr": 3e-3, "loss_scale": 1.0, "draws": 3, "intensity": 0.25,
            },
            paper=WEAK_VIEWS | {
                "epochs": 100, "warmup_epochs": 0, "batch_size": 128,
                "lr": 0.1, "weight_decay": 5e-4, "loss_scale": 1.0, "draws": 5, "intensity": 1.0,
            },
        ),
        # SimCLR as CP trains it, and the attack of the official code (Kim et al. 2020): steps of
        # 0.007.
        "advsimclr": Algorithm(
            _HERE + "advsimclr:AdvSimCLR",
            quick={
                "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5,
                "head_hidden": 64, "head_dim": 64,
                "adv_epsilon": "8/255", "adv_steps": 1, "adv_step_size": 1.0,
            },
            paper={
                "lr": 0.5, "loss_scale": 1.786, "temperature": 0.5,
                "head_hidden": 512, "head_dim": 128,
                "adv_epsilon": "8/255", "adv_steps": 7, "adv_step_size": 0.223,
            },
        ),
        # The defaults of its code (Styborski et al. 2024): steps of 0.6/255 in a ball of 4/255; the
        # rest as CP trains SimCLR. Quick: as of advsimclr.
        "vespr": Algorithm(
            _HERE + "vespr:VESPR",
            quick={
                "loss": "nt-xent", "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5,
                "head_hidden": 64, "head_dim": 64,
                "adv_epsilon": "8/255", "adv_steps": 1, "adv_step_size": 1.0, "ce_weight": 1.0,
            },
            paper={
                "loss": "nt-xent",
                "lr": 0.5, "loss_scale": 1.0, "temperature": 0.5,
                "head_hidden": 512, "head_dim": 128,
                "adv_epsilon": "4/255", "adv_steps": 10, "adv_step_size": 0.15, "ce_weight": 1.0,
            },
        ),
        # Defaults of the official code (Fan et al. 2021), which CP used; its weight of 0.2 stands
        # beside a contrastive loss that is 0.5 / 0.07 times the textbook one.
        "advcl": Algorithm(
            _HERE + "advcl:AdvCL",
            quick={
                "epochs": 50,
                "lr": 3e-3, "loss_scale": 1.0, "temperature": 0.5,
                "head_hidden": 64, "head_dim": 64,
                "adv_epsilon": "4/255", "adv_steps": 3, "adv_step_size": 0.5, "ce_weight": 1.0,
            },
            paper={
                "lr": 0.5, "loss_scale": 7.143, "temperature": 0.5,
                "head_hidden": 512, "head_dim": 128,
                "adv_epsilon": "8/255", "adv_steps": 5, "adv_step_size": 0.25, "ce_weight": 0.028,
            },
            is_clustered=True,
        ),
    },
    group="cptools.algorithms",
    check=_check,
)  # fmt: skip
