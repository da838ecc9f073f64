"""The cut of the packages: who imports whom, what is installed, and that tables agree with the settings' types."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from conftest import PROJECT
from reports.record import METRICS
from trainables import settings
from trainables.data.catalog import Task
from trainables.data.csv_table import TASKS
from trainables.data.published_sets import SETS
from trainables.data.sources import ONLY_FOR, OWN_READERS, DataSettings
from trainables.settings import TrialSettings
from trainables.tasks import LOSSES_OF, METRICS_OF, TRAINING_SCORE_OF, Metric
from trainables.training.losses import LOSSES
from trainables.training.optimizers import OPTIMIZERS
from trainables.training.schedules import SCHEDULES
from trainables.training.scores import SCORES
from tuning.checking import hints_of
from tuning.cli.main import COMMANDS
from tuning.sampling import PRUNERS, SAMPLERS
from tuning.spec import SearchSettings

LAYERS = ("trainables", "reports", "tuning")  # each may import those before it
MAY_IMPORT_RAY = {
    "trainables/ray_worker.py",
    "trainables/ray_nodes.py",
    "tuning/engine.py",
    "tuning/cluster.py",
    "tuning/jobs.py",
    "tuning/joining.py",
}
MODULES = [path for layer in LAYERS for path in sorted((PROJECT / layer).rglob("*.py"))]


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere in it, functions and type-checking blocks included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def shown(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_no_module_imports_against_the_layers(path: Path) -> None:
    above = set(LAYERS[LAYERS.index(shown(path).split("/")[0]) + 1 :])
    found = {name for name in imports(path) if name.split(".")[0] in above | {"tests", "benchmarks", "docs"}}
    assert not found


def test_ray_is_imported_at_its_edges_only() -> None:
    importers = {shown(path) for path in MODULES if any(name.split(".")[0] == "ray" for name in imports(path))}
    assert importers == MAY_IMPORT_RAY


def test_pandas_is_imported_in_one_module() -> None:
    def at_run_time(path: Path) -> bool:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        found = (node for node in ast.walk(tree) if isinstance(node, ast.Import) and id(node) not in guarded)
        return any(alias.name == "pandas" for node in found for alias in node.names)

    assert {shown(path) for path in MODULES if at_run_time(path)} == {"reports/frames.py"}


def test_packages_re_export_nothing() -> None:
    """A package's `__init__` is a docstring."""
    for path in MODULES:
        if path.name != "__init__.py":
            continue
        body = ast.parse(path.read_text(encoding="utf-8")).body
        assert all(isinstance(node, ast.Expr) for node in body), f"{shown(path)} is more than a docstring"


@pytest.mark.parametrize("path", MODULES, ids=shown)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_what_is_installed_is_what_is_there() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(
        {shown(p.parent).replace("/", ".") for p in MODULES}
    )
    for package, patterns in project["tool"]["setuptools"]["package-data"].items():
        folder = PROJECT / package.replace(".", "/")
        others = {path for path in folder.iterdir() if path.is_file() and path.suffix not in (".py", ".pyc")}
        assert others == {path for pattern in patterns for path in folder.glob(pattern)}


def literals(record: type, name: str) -> tuple[Any, ...]:
    """The choices of a setting whose type is a `Literal`."""
    return get_args(get_args(hints_of(record)[name])[0])


@pytest.mark.parametrize(
    ("choices", "table"),
    [
        (literals(TrialSettings, "optimizer"), OPTIMIZERS),
        (literals(TrialSettings, "schedule"), SCHEDULES),
        (literals(TrialSettings, "loss"), {"auto": None, **LOSSES}),
        (get_args(Metric), METRICS),
        (get_args(Task), SCORES),
        (tuple(SCORES), LOSSES_OF),
        (tuple(SCORES), METRICS_OF),
        (tuple(SCORES), TRAINING_SCORE_OF),
        (literals(SearchSettings, "sampler"), SAMPLERS),
        (literals(SearchSettings, "pruner"), PRUNERS),
    ],
    ids=["optimizer", "schedule", "loss", "metric", "scores", "losses", "metrics", "training", "sampler", "pruner"],
)
def test_a_table_has_what_the_settings_offer(choices: tuple[str, ...], table: dict[str, Any]) -> None:
    assert choices == tuple(table)


@pytest.mark.parametrize("augment", get_args(settings.Augment))
def test_every_augmentation_gives_a_view(augment: settings.Augment) -> None:
    import torch

    from trainables.data.transforms import UNIFORMS, training_view, uniforms

    draws = uniforms(0, 1, [0], UNIFORMS)[0]
    picture = torch.zeros(3, 12, 16, dtype=torch.uint8)
    trial = TrialSettings(image_size=8, center_crop=1.0, augment=augment)
    assert training_view(picture, settings=trial, uniforms=draws).shape == (3, 8, 8)


@pytest.mark.parametrize("precision", get_args(settings.Precision))
def test_every_precision_is_known(precision: settings.Precision) -> None:
    import torch

    from trainables.hardware import autocast_dtype

    expected = {"fp32": {None}, "bf16": {torch.bfloat16}, "fp16": {torch.float16}}.get(
        precision, {None, torch.bfloat16}
    )
    assert autocast_dtype(precision, torch.device("cuda" if precision == "fp16" else "cpu")) in expected


def test_every_source_has_its_reader() -> None:
    assert literals(DataSettings, "source") == (*OWN_READERS, *SETS)
    assert hints_of(DataSettings).keys() >= ONLY_FOR.keys()
    assert {source for sources in ONLY_FOR.values() for source in sources} <= {*OWN_READERS, *SETS}


def test_every_task_has_its_reader() -> None:
    assert get_args(Task) == tuple(TASKS)


def test_every_command_has_its_file() -> None:
    files = {path.stem for path in (PROJECT / "tuning" / "cli").glob("*.py")} - {"__init__", "main", "options"}
    assert {module for module, _, _ in COMMANDS.values()} == files
