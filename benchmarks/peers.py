"""The peers: one tutorial training loop, under plain Ray Tune and under plain Optuna.

    score = with_ray_tune(work, folder)     # Tuner + OptunaSearch, function trainable, actors reused
    score = with_optuna(work, folder)       # study.optimize with as many jobs as cores

Written as a careful user would from the documentation of torchvision, torch, Ray and Optuna; nothing of tuneyard is
imported. To their advantage they save no checkpoints and keep no record on disk of their own.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import ray
import torch
import torchvision
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from ray import tune
from ray.tune.search.optuna import OptunaSearch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from benchmarks.work import BATCH_SIZES, GAMMA, LR, MOMENTUM, Config, Score, Work

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# Trials that share a GPU, each with its part of the cores for reading pictures: one of these alone leaves it idle.
ON_A_GPU = 4
# The parts of a ResNet that are frozen with one of its layers.
_UP_TO = {"layer2": ("conv1", "bn1", "layer1", "layer2"), "layer3": ("conv1", "bn1", "layer1", "layer2", "layer3")}


def space_of(work: Work) -> dict[str, BaseDistribution]:
    """The search space that the work's configurations are of."""
    return {
        "lr": FloatDistribution(*LR, log=True),
        "batch_size": CategoricalDistribution(BATCH_SIZES),
        "momentum": FloatDistribution(*MOMENTUM),
        "gamma": FloatDistribution(*GAMMA),
        "freeze": CategoricalDistribution(work.freeze),
    }


def datasets_of(work: Work) -> tuple[Dataset, Dataset, int, int]:
    """Training and validation pictures, the number of classes, and of channels."""
    if work.pictures.endswith(".npz"):
        arrays = np.load(work.pictures, allow_pickle=False)
        train = _in_memory(arrays["train_images"], arrays["train_labels"], size=work.image_size)
        val = _in_memory(arrays["val_images"], arrays["val_labels"], size=work.image_size)
        return train, val, int(arrays["train_labels"].max()) + 1, 1
    root = Path(work.pictures)
    as_tensor = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    plain = [transforms.Resize(round(work.image_size / 0.875)), transforms.CenterCrop(work.image_size)]
    views = [transforms.RandomResizedCrop(work.image_size), transforms.RandomHorizontalFlip()]
    train_set = ImageFolder(root / "train", transforms.Compose((views if work.random_views else plain) + as_tensor))
    val_set = ImageFolder(root / "val", transforms.Compose(plain + as_tensor))
    return train_set, val_set, len(train_set.classes), 3


def _in_memory(images: np.ndarray, labels: np.ndarray, *, size: int) -> TensorDataset:
    """Small pictures are resized and normalised once, before training."""
    pictures = torch.from_numpy(images).float().div(255).unsqueeze(1)
    resized = nn.functional.interpolate(pictures, size=(size, size), mode="bilinear", antialias=True)
    return TensorDataset((resized - 0.5) / 0.5, torch.from_numpy(labels))


def network_of(work: Work, *, freeze: str, classes: int, channels: int) -> nn.Module:
    """The network with a new head; `freeze` and what comes before it is not trained."""
    network = torchvision.models.get_model(work.model, weights=None)
    if work.weights:
        network.load_state_dict(torch.load(work.weights, weights_only=True))
    network.requires_grad_(freeze != "backbone")
    for part in _UP_TO.get(freeze, ()):
        network.get_submodule(part).requires_grad_(False)
    if work.model.startswith("squeezenet"):
        network.classifier[1] = nn.Conv2d(512, classes, kernel_size=1)
    else:
        network.fc = nn.Linear(network.fc.in_features, classes)
    if channels == 1:
        network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return network


def wants_gpu(work: Work) -> bool:
    """Whether there is one, and something to compute."""
    return bool(work.model) and torch.cuda.is_available()


def at_once(work: Work) -> int:
    """How many trials run side by side: one a core, or some on the GPU."""
    return min(ON_A_GPU, work.cpus) if wants_gpu(work) else work.cpus


def loader_options(work: Work) -> dict[str, Any]:
    """How pictures are read: by the trial itself on a CPU, by processes of its own for a GPU."""
    if not wants_gpu(work):
        return {}
    return {"num_workers": work.cpus // at_once(work), "persistent_workers": True, "pin_memory": True}


def train_one(config: Config, work: Work, state: dict | None = None) -> Iterator[tuple[dict[str, float], dict]]:
    """The tutorial loop: metrics after each epoch, and the state from which the loop goes on with the next one."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(work.seed)
    train_set, val_set, classes, channels = datasets_of(work)
    train_loader = DataLoader(train_set, batch_size=config["batch_size"], shuffle=True, **loader_options(work))
    val_loader = DataLoader(val_set, batch_size=64, **loader_options(work))
    network = network_of(work, freeze=config["freeze"], classes=classes, channels=channels).to(device)
    layout = torch.channels_last if work.tuned_peers else torch.preserve_format
    network = network.to(memory_format=layout)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=config["lr"], momentum=config["momentum"])
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=work.step_size, gamma=config["gamma"])
    criterion = nn.CrossEntropyLoss()
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    for name, part in parts.items():
        if state is not None:
            part.load_state_dict(state[name])
    for epoch in range(state["epoch"] if state else 0, work.epochs):
        torch.manual_seed(1000 * work.seed + epoch)  # so that a resumed trial goes on as it would have
        network.train()
        for images, labels in train_loader:
            images = images.to(device, non_blocking=True, memory_format=layout)
            labels = labels.to(device, non_blocking=True)
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=work.tuned_peers):
                loss = criterion(network(images), labels)
            loss.backward()
            optimizer.step()
        schedule.step()
        with torch.autocast(device.type, torch.bfloat16, enabled=work.tuned_peers):
            metrics = {"val_accuracy": _accuracy(network, val_loader, device)}
        yield metrics, {"epoch": epoch + 1, **{name: part.state_dict() for name, part in parts.items()}}


@torch.no_grad()
def _accuracy(network: nn.Module, loader: DataLoader, device: torch.device) -> float:
    network.eval()
    right = seen = 0
    for images, labels in loader:
        answers: Tensor = network(images.to(device, non_blocking=True)).argmax(dim=1)
        right += int((answers == labels.to(device)).sum())
        seen += len(labels)
    return right / seen


def ray_trainable(config: Config) -> None:
    """The loop as Ray Tune's function trainable."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    for metrics, _ in train_one(config, Work(**config["work"])):
        tune.report({**metrics, "seconds": time.perf_counter() - started})


def nothing(config: Config) -> None:
    """A trial that does no work."""
    tune.report({"val_accuracy": 0.5, "seconds": 0.0})


def with_ray_tune(work: Work, folder: Path) -> Score:
    """The work under Ray Tune, the configurations handed to OptunaSearch."""
    search = OptunaSearch(space_of(work), metric="val_accuracy", mode="max", points_to_evaluate=work.configs())
    return _tuned(
        ray_trainable, work, folder, tune_config={"search_alg": search}, param_space={"work": vars(work) | {}}
    )


def nothing_with_ray_tune(work: Work, folder: Path) -> Score:
    """Trials that do nothing, under Ray Tune's own random search: its least costly way to make trials."""
    space = {"lr": tune.loguniform(*LR), "momentum": tune.uniform(*MOMENTUM)}
    return _tuned(nothing, work, folder, tune_config={}, param_space=space)


def _tuned(trainable: Callable, work: Work, folder: Path, *, tune_config: dict, param_space: dict) -> Score:
    ray.init(address="local", num_cpus=work.cpus, include_dashboard=False, log_to_driver=False)
    trials = at_once(work)
    gpus = 1 / trials if wants_gpu(work) else 0
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": work.cpus / trials, "gpu": gpus}),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            metric="val_accuracy", mode="max", num_samples=work.trials, reuse_actors=True, **tune_config
        ),
        run_config=tune.RunConfig(name="peer", storage_path=str(folder.resolve()), verbose=0),
    )
    results = tuner.fit()
    history = results.get_best_result(scope="all").metrics_dataframe
    assert history is not None
    best = history["val_accuracy"].max()
    finished = len(results) - results.num_errors
    seconds = float(results.get_dataframe()["seconds"].sum())
    ray.shutdown()
    return Score(finished, float(best), seconds, trials)


def with_optuna(work: Work, folder: Path) -> Score:
    """The work under Optuna alone: one process, a thread for each core."""
    torch.set_num_threads(1)
    return _optimized(lambda config: max(metrics["val_accuracy"] for metrics, _ in train_one(config, work)), work)


def nothing_with_optuna(work: Work, folder: Path) -> Score:
    """Trials that do nothing, with Optuna's default storage, which is in memory."""
    return _optimized(lambda config: 0.5, work)


def _optimized(value_of: Callable[[Config], float], work: Work) -> Score:
    seconds: list[float] = []

    def objective(trial: optuna.Trial) -> float:
        config = {
            "lr": trial.suggest_float("lr", *LR, log=True),
            "batch_size": trial.suggest_categorical("batch_size", BATCH_SIZES),
            "momentum": trial.suggest_float("momentum", *MOMENTUM),
            "gamma": trial.suggest_float("gamma", *GAMMA),
            "freeze": trial.suggest_categorical("freeze", work.freeze),
        }
        started = time.perf_counter()
        value = value_of(config)
        seconds.append(time.perf_counter() - started)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for config in work.configs():
        study.enqueue_trial(config)
    study.optimize(objective, n_trials=work.trials, n_jobs=at_once(work))
    finished = sum(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)
    return Score(finished, study.best_value, sum(seconds), at_once(work))
