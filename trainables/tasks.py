"""What fits which task: its losses and its metrics, the first of each being the default, and what outputs mean.

    loss_for("auto", task="regression")            # "mse"
    metric_for("auto", task="multilabel")          # "val_map"
    scores_for("poisson_nll", task="regression")   # "exp"

Importing this module imports no torch.
"""

from typing import Literal, get_args

from trainables.data.catalog import Task

Metric = Literal[
    "val_accuracy",
    "val_top5",
    "val_balanced_accuracy",
    "val_f1",
    "val_auroc",
    "val_map",
    "val_mae",
    "val_rmse",
    "val_r2",
    "val_loss",
]
Scores = Literal["softmax", "sigmoid", "identity", "exp"]
LOSSES_OF: dict[Task, tuple[str, ...]] = {
    "classification": ("cross_entropy", "nll", "bce", "multi_margin", "focal", "kl_div", "mse", "l1"),
    "multilabel": ("bce", "multilabel_margin", "multilabel_soft_margin"),
    "regression": ("mse", "l1", "smooth_l1", "huber", "poisson_nll", "margin_ranking"),
}
# Measured on the validation pictures after every epoch.
METRICS_OF: dict[Task, tuple[Metric, ...]] = {
    "classification": ("val_accuracy", "val_top5", "val_balanced_accuracy", "val_f1", "val_auroc", "val_loss"),
    "multilabel": ("val_map", "val_accuracy", "val_f1", "val_auroc", "val_loss"),
    "regression": ("val_mae", "val_rmse", "val_r2", "val_loss"),
}
# Gathered from the training batches on the way; told as `train_…`.
TRAINING_SCORE_OF: dict[Task, str] = {"classification": "accuracy", "multilabel": "accuracy", "regression": "mae"}

# All that may be told of an epoch, in the order of the record; what does not fit the task is left out.
EPOCH_FIELDS = (
    "epoch",
    "train_loss",
    *(f"train_{score}" for score in dict.fromkeys(TRAINING_SCORE_OF.values())),
    "val_loss",
    *(metric for metric in get_args(Metric) if metric != "val_loss"),
    "lr",
    "parameters",
    "trainable",
    "shared",
    "precision",
    "seconds",
    "seconds_sharing",
    "seconds_validating",
)


def loss_for(loss: str, *, task: Task) -> str:
    """The loss that a setting stands for, `auto` resolved. Whether it fits the task is not checked."""
    return LOSSES_OF[task][0] if loss == "auto" else loss


def metric_for(metric: Metric | Literal["auto"], *, task: Task) -> Metric:
    """The metric that a setting stands for, `auto` resolved. Whether it fits the task is not checked."""
    return METRICS_OF[task][0] if metric == "auto" else metric


def scores_for(loss: str, *, task: Task) -> Scores:
    """What turns a network's outputs into probabilities, or into numbers in the targets' units."""
    if task == "regression":
        return "exp" if loss == "poisson_nll" else "identity"
    return "softmax" if task == "classification" else "sigmoid"
