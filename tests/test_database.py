"""A ledger in a database says and survives what one in a journal file does; SQLite stands for the servers here."""

import json
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.study import StudyDirection

from conftest import PROJECT
from reports.database import PASSWORD, Database, check_url, shown, trouble
from reports.ledger import Ledger
from reports.storages import VARIABLE, note_storage
from reports.sweep import Sweep
from runs import SPACE, Planned, add_trial, make_epoch, make_run
from simulation import Crash, CrashingDatabase, Simulation, small_spec
from trainables.errors import UserError
from trainables.settings import TrialSettings
from tuning.setup import _database
from tuning.space import Choice, Float, distribution
from tuning.spec_file import load_spec


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'sweeps.db'}"


@pytest.fixture
def database(url: str) -> Database:
    return Database(url, study="one")


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch) -> CrashingDatabase:
    return CrashingDatabase(monkeypatch)


def simulated(folder: Path, database: Database, **options: int) -> Simulation:
    folder.mkdir(exist_ok=True)
    return Simulation(folder, small_spec(trials=5, epochs=4), database=database, **options)


def undisturbed(tmp_path: Path) -> Simulation:
    """The same sweep with a journal."""
    folder = tmp_path / "whole"
    folder.mkdir()
    whole = Simulation(folder, small_spec(trials=5, epochs=4))
    whole.drive()
    return whole


def test_a_sweep_is_the_same_in_either_place(tmp_path: Path, database: Database) -> None:
    sweep = simulated(tmp_path / "run", database)
    sweep.drive()
    whole = undisturbed(tmp_path)
    assert sweep.table() == whole.table()
    assert sweep.files() == whole.files()
    assert not (tmp_path / "run" / "journal.log").exists()


@pytest.mark.parametrize("how", ["before", "after"])
def test_a_crash_at_any_transaction_changes_nothing(
    tmp_path: Path, url: str, crashing: CrashingDatabase, how: str
) -> None:
    whole = undisturbed(tmp_path)
    probe = simulated(tmp_path / "probe", Database(url, study="probe"))
    made = crashing.writes
    probe.drive()
    writes = crashing.writes - made
    assert writes > 40
    for write in range(1, writes + 1, 5):
        crashed = simulated(tmp_path / f"{how}-{write}", Database(url, study=f"{how}-{write}"))
        crashing.at(write, how)
        with pytest.raises(Crash):
            crashed.drive()
        crashing.never()
        crashed.drive()
        assert crashed.table() == whole.table(), f"crash {how} transaction {write}"
        assert crashed.files() == whole.files()
        assert len(crashed.epochs_run) - len(set(crashed.epochs_run)) <= 1


def test_sweeps_in_one_database_keep_apart(tmp_path: Path, url: str) -> None:
    sweeps = [simulated(tmp_path / name, Database(url, study=name)) for name in ("one", "two")]
    for sweep in sweeps:
        sweep.drive()
    tables = [sweep.table() for sweep in sweeps]
    assert tables[0] == tables[1]
    assert [row["number"] for row in tables[1]] == list(range(5))


def test_wider_distributions_keep_what_was_chosen(database: Database, tmp_path: Path) -> None:
    """Also where a choice has another place among the wider ones."""
    ledger = Ledger.create(tmp_path, metric="val_accuracy", mode="max", database=database)
    number = add_trial(ledger, Planned("running"), settings=TrialSettings())
    ledger.record_epoch(number, make_epoch(0, 1, val_accuracy=0.5))
    ledger.finish(number, "complete")
    before = ledger.trial(number)
    wider = dict(SPACE)
    wider["freeze"] = Choice(("backbone", *reversed(SPACE["freeze"].values)))  # type: ignore[union-attr]
    wider["lr"] = Float(1e-6, 10.0, log=True)
    distributions = {name: distribution(dimension) for name, dimension in wider.items()}
    widened = ledger.with_distributions(distributions)
    assert widened.trial(number).params == before.params
    assert widened.trial(number).epochs == before.epochs
    assert widened.trial(number).distributions == {name: distributions[name] for name in before.params}
    optuna.trial.Trial(widened.study, widened.study.ask()._trial_id).suggest_categorical(
        "freeze", wider["freeze"].values
    )


def test_a_study_that_is_not_there_is_told(url: str) -> None:
    Database(url, study="one").create(StudyDirection.MAXIMIZE)
    with pytest.raises(UserError, match="this sweep is not in the database: got 'two'"):
        Database(url, study="two").load()


def test_a_database_that_cannot_be_used_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the database cannot be used .*unable to open database file") as told:
        Database(f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}", study="one").create(StudyDirection.MAXIMIZE)
    assert "\n" not in str(told.value)


def test_a_server_that_does_not_answer_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed (the extra `postgresql`)")
    monkeypatch.setenv(PASSWORD, "s3cret")
    with pytest.raises(UserError, match="the database cannot be used") as told:
        Database("postgresql://me@127.0.0.1:9/sweeps", study="one").create(StudyDirection.MAXIMIZE)
    assert "s3cret" not in str(told.value)
    assert "\n" not in str(told.value)


def test_a_write_that_fails_for_long_is_an_error_of_the_disk(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reports.database.PATIENCE_S", 0.3)
    monkeypatch.setattr("reports.database._TRY_AGAIN_S", 0.1)
    ledger = Ledger.create(tmp_path, metric="val_accuracy", mode="max", database=database)
    number = add_trial(ledger, Planned("running"), settings=TrialSettings())
    path = tmp_path / "sweeps.db"
    path.rename(tmp_path / "away.db")
    path.mkdir()
    for write in (
        lambda: ledger.record_epoch(number, make_epoch(0, 1, val_accuracy=0.5)),
        lambda: ledger.study._storage.set_trial_param(number + 1, "momentum", 0.5, distribution(Float(0.1, 0.9))),
        ledger.begin,
    ):
        with pytest.raises(OSError, match="the database fails: "):
            write()
    path.rmdir()
    (tmp_path / "away.db").rename(path)
    ledger.record_epoch(number, make_epoch(0, 1, val_accuracy=0.5))
    assert ledger.trial(number).value == 0.5


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("postgresql://me@host/sweeps", None),
        ("mysql://me@host/sweeps", None),
        ("sqlite:////home/me/sweeps.db", None),
        ("sqlite:///sweeps.db", "not absolute"),
        ("postgresql://me:s3cret@host/sweeps", "has a password"),
        ("postgresql://host/sweeps?password=s3cret", "has a password"),
        ("oracle://host/sweeps", "not one of postgresql://…"),
        ("journal.log", "not a URL"),
        ("", "not a URL"),
    ],
)
def test_urls(url: str, wrong: str | None) -> None:
    found = check_url(url)
    assert found is None if wrong is None else wrong in (found or "")


def test_a_password_in_a_sweep_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = (PROJECT / "tuning" / "spaces" / "resnet18.yaml").read_text()
    file = tmp_path / "my.yaml"
    file.write_text(text.replace("search:\n", "search:\n  storage: postgresql://me:s3cret@host/sweeps\n"))
    with pytest.raises(UserError, match=f"search.storage: .*{PASSWORD}") as told:
        load_spec(file)
    assert "s3cret" not in str(told.value)
    assert "s3cret" not in shown("postgresql://me:s3cret@host/sweeps")


def test_trouble_is_one_line_without_the_statement(tmp_path: Path) -> None:
    engine = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'a.db'}").engine
    import sqlalchemy

    with pytest.raises(sqlalchemy.exc.OperationalError) as raised, engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 'precious' FROM nowhere"))
    assert trouble(raised.value) == "no such table: nowhere"


# a run that somebody sent


def sent(tmp_path: Path, storage: str, **changes: object) -> Path:
    """A run whose record says that its ledger is in a database."""
    run = make_run(tmp_path / "sent", trials=[])
    record = json.loads((run / "sweep.json").read_text())
    record["spec"]["search"]["storage"] = storage
    (run / "sweep.json").write_text(json.dumps({**record, "study": "one", **changes}))
    return run


@pytest.mark.parametrize("storage", ["postgresql://me@127.0.0.1:9/x", "mysql://me@127.0.0.1:9/x", "sqlite:////x/y.db"])
def test_a_database_that_the_user_never_named_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.setattr("reports.database.create_engine", None)
    monkeypatch.setattr("reports.database._Patient", None)
    sweep = Sweep.open(sent(tmp_path, storage))
    for ask in (sweep.database, sweep.ledger, lambda: sweep.ledger(writable=True)):
        with pytest.raises(
            UserError, match=f"known to have named on this machine.*export {VARIABLE}={storage}"
        ) as told:
            ask()
        assert str(told.value).startswith(str(sweep.folder / "sweep.json"))
    monkeypatch.setenv(VARIABLE, storage)
    assert sweep.database() == Database(storage, study="one")
    monkeypatch.setenv(VARIABLE, "sqlite:////another.db")
    note_storage(storage)
    assert sweep.database() == Database(storage, study="one")


def test_a_new_sweep_notes_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEYARD_CACHE", str(tmp_path / "cache"))
    url = f"sqlite:///{tmp_path / 'sweeps.db'}"
    sweep = Sweep.open(sent(tmp_path, url))
    with pytest.raises(UserError, match="known to have named on this machine"):
        sweep.database()
    with _database(small_spec(storage=url), sweep.record) as database:
        assert database == sweep.database()


def test_a_record_with_a_password_or_without_a_study(tmp_path: Path) -> None:
    run = sent(tmp_path, "postgresql://me:s3cret@host/x")
    with pytest.raises(UserError, match="no database of ours: it has a password") as told:
        Sweep.open(run).ledger()
    assert "s3cret" not in str(told.value)
    record = json.loads((run / "sweep.json").read_text())
    del record["study"]
    (run / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="damaged: it lacks study"):
        Sweep.open(run)


def test_reading_makes_no_file_and_no_table(tmp_path: Path) -> None:
    missing = tmp_path / "missing.db"
    with pytest.raises(UserError, match="unable to open database file"):
        Database(f"sqlite:///{missing}", study="one").load()
    assert not missing.exists()
    other = tmp_path / "somebody's #1.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE addresses (name TEXT)")
    connection.close()
    before = other.read_bytes()
    with pytest.raises(UserError, match="no such table"):
        Database(f"sqlite:///{other}", study="one").load()
    assert other.read_bytes() == before


def test_what_was_opened_to_read_cannot_be_written(database: Database) -> None:
    database.create(StudyDirection.MAXIMIZE)
    with pytest.raises(OSError, match="attempt to write a readonly database"):
        database.load().ask()
