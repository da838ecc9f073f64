"""A sweep's study in a database, in place of a journal file: PostgreSQL, MySQL or SQLite.

    database = Database("postgresql://me@host/sweeps", study="resnet18-3fa9c2d1")
    study = database.create(StudyDirection.MAXIMIZE)
    with database.held():                      # one driver at a time, wherever it runs
        database.load(writable=True).ask()

Several sweeps keep apart by their studies' names. A password is taken from the environment and stands nowhere else: as
the database's own programs do (PGPASSWORD, ~/.pgpass), or from TUNEYARD_STORAGE_PASSWORD.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import optuna
from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage, get_storage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from trainables.errors import UserError

PASSWORD = "TUNEYARD_STORAGE_PASSWORD"
# By the URL's scheme: SQLAlchemy's driver, its module, and the extra that brings it.
DRIVERS = {
    "postgresql": ("postgresql+psycopg", "psycopg", "postgresql"),
    "mysql": ("mysql+pymysql", "pymysql", "mysql"),
    "sqlite": ("sqlite", "sqlite3", ""),
}
# A server that is started anew is waited for so long; then the sweep stops, to be resumed.
PATIENCE_S = 30.0
_TRY_AGAIN_S = 0.5

# How a connection takes hold of a name until it ends; a row of 1 or true says that it did.
_HOLDS = {
    "postgresql": "SELECT pg_try_advisory_lock(hashtextextended(:name, 0))",
    "mysql": "SELECT GET_LOCK(SUBSTRING(SHA2(:name, 256), 1, 60), 0)",
}
# What keeps the server from ending a connection that only holds.
_STAYS = {"mysql": "SET SESSION wait_timeout = 31536000"}

T = TypeVar("T")


@dataclass(frozen=True)
class Database:
    """A study of this name in the database at `url`, which has no password."""

    url: str
    study: str

    @property
    def where(self) -> str:
        return self.url

    def create(self, direction: StudyDirection) -> optuna.Study:
        """A new, empty study.

        Raises:
            UserError: the database cannot be used.
        """
        with _told(self.url):
            return optuna.create_study(storage=self._storage(writable=True), study_name=self.study, direction=direction)

    def load(self, *, writable: bool = False) -> optuna.Study:
        """The study as it is; to read it, no file and no table is made.

        Errors as `create`; also where there is none of this name.
        """
        try:
            with _told(self.url):
                study = optuna.load_study(storage=self._storage(writable=writable), study_name=self.study)
                study.get_trials(deepcopy=False)  # in one go, and Optuna's cache must know a trial that goes on
                return study
        except KeyError as error:
            raise UserError("this sweep is not in the database", where=self.url, got=self.study) from error

    def delete(self) -> None:
        """Removes the study."""
        optuna.delete_study(study_name=self.study, storage=self._storage(writable=True))

    def one_flush(self) -> AbstractContextManager[None]:
        """Each write is a transaction of its own: a crash between two leaves an earlier state."""
        return nullcontext()

    def widen(self, study: optuna.Study, distributions: Mapping[str, BaseDistribution]) -> optuna.Study:
        """The study with wider distributions in all its trials, changed in one transaction."""
        rows = text(
            "SELECT p.param_id, p.param_name, p.param_value, p.distribution_json FROM trial_params p"
            " JOIN trials t ON t.trial_id = p.trial_id WHERE t.study_id = :study"
        )
        change = text("UPDATE trial_params SET param_value = :value, distribution_json = :json WHERE param_id = :id")
        with _told(self.url), _engine(self.url).begin() as connection:
            for row in connection.execute(rows, {"study": study._study_id}).all():
                old, new = json_to_distribution(row.distribution_json), distributions[row.param_name]
                value = new.to_internal_repr(old.to_external_repr(row.param_value))
                if json.loads(row.distribution_json) != json.loads(distribution_to_json(new)):
                    wider = {"value": value, "json": distribution_to_json(new), "id": row.param_id}
                    connection.execute(change, wider)
        return self.load(writable=True)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other drivers off this study, on whatever machine, for as long as this process lives and is connected.

        Raises:
            UserError: another driver holds it.
        """
        hold = _HOLDS.get(make_url(self.url).get_backend_name())
        if hold is None:  # a file, beside which the run's own lock will do
            yield
            return
        with _told(self.url):
            connection = _engine(self.url).connect().execution_options(isolation_level="AUTOCOMMIT")
            if stay := _STAYS.get(connection.dialect.name):
                connection.execute(text(stay))
            held = connection.execute(text(hold), {"name": self.study}).scalar()
        try:
            if not held:
                raise UserError(
                    "this sweep is being run already", where=self.url, got=self.study, hint="wait for its driver"
                )
            yield
        finally:
            connection.close()

    def _storage(self, *, writable: bool) -> optuna.storages.BaseStorage:
        return get_storage(_Patient(_with_password(self.url), writable=writable))


def check_url(url: str) -> str | None:
    """What is wrong with a database's URL, in words; None where nothing is."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return "not a URL, such as postgresql://user@host/database"
    if parsed.drivername not in DRIVERS:
        return f"not one of {', '.join(f'{name}://…' for name in DRIVERS)}"
    if parsed.password is not None or "password" in parsed.query:
        return f"it has a password; give that in the environment, as {PASSWORD}"
    if parsed.drivername == "sqlite" and not Path(parsed.database or "").is_absolute():
        return "its path is not absolute, such as in sqlite:////home/me/sweeps.db"
    return None


def shown(url: str) -> str:
    """A URL without a password, should there be one: to show it in a message."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(no URL)"


def trouble(error: BaseException) -> str:
    """What a database complains of, in one line, without the statement and its values."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    told = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return next((line.strip() for line in str(told).splitlines() if line.strip()), type(told).__name__)


class _Patient(RDBStorage):
    """Optuna's storage, which waits for a server that is being started again, and tells of one that stays away as a
    disk that cannot be written would.

    Creating a trial is not tried again: whether the first attempt came through is not known, and the trial might be
    there twice.
    """

    def __init__(self, url: URL, *, writable: bool) -> None:
        options: dict[str, Any] = {}
        if url.get_backend_name() != "sqlite":
            options["pool_pre_ping"] = True
        elif not writable:
            options["creator"] = partial(_reading, url.database or "")
        whole = url.render_as_string(hide_password=False)
        super().__init__(whole, engine_kwargs=options, skip_table_creation=not writable)

    def _create_new_trial(self, study_id: int, template_trial: Any = None) -> FrozenTrial:
        return _tried(lambda: super(_Patient, self)._create_new_trial(study_id, template_trial), patience_s=0)


def _reading(path: str) -> sqlite3.Connection:
    """A connection to a SQLite file that is there, which writes nothing but to undo what a crash left half done."""
    connection = sqlite3.connect(f"file:{quote(path)}?mode=rw", uri=True, check_same_thread=False)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _patient(name: str) -> Callable[..., Any]:
    original = getattr(RDBStorage, name)

    def call(self: RDBStorage, *args: Any, **named: Any) -> Any:
        return _tried(lambda: original(self, *args, **named), patience_s=PATIENCE_S)

    return call


# All that a sweep asks of a study, through Optuna's cache; done twice, each leaves what it leaves done once.
for _name in (
    "get_all_trials",
    "get_trial",
    "get_trial_id_from_study_id_trial_number",
    "get_study_directions",
    "get_study_system_attrs",
    "get_study_user_attrs",
    "set_study_system_attr",
    "set_study_user_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "set_trial_system_attr",
    "set_trial_user_attr",
    "_get_trials",
    "_set_trial_param",
):
    setattr(_Patient, _name, _patient(_name))


def _tried(act: Callable[[], T], *, patience_s: float) -> T:
    """Raises OSError where the database fails for longer."""
    until = time.monotonic() + patience_s
    while True:
        try:
            return act()
        except (StorageInternalError, SQLAlchemyError) as error:
            if time.monotonic() >= until:
                raise OSError(f"the database fails: {trouble(error)}") from error
            time.sleep(_TRY_AGAIN_S)


def _with_password(url: str) -> URL:
    parsed = make_url(url)
    driver, module, extra = DRIVERS[parsed.get_backend_name()]
    if find_spec(module) is None:
        raise UserError(f"{module} is not installed", where=shown(url), hint=f"pip install 'tuneyard[{extra}]'")
    parsed = parsed.set(drivername=driver)
    password = os.environ.get(PASSWORD)
    return parsed.set(password=password) if password and extra else parsed


def _engine(url: str) -> Engine:
    """Its connections end when they are closed, and what they hold with them."""
    return create_engine(_with_password(url), poolclass=NullPool)


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turns what a database complains of at the start into one line."""
    try:
        yield
    except (StorageInternalError, SQLAlchemyError, OSError) as error:
        raise UserError(
            f"the database cannot be used ({trouble(error)})", where=shown(url), hint="is it there, and the password?"
        ) from error
