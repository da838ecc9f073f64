"""Runs at home on object storage: what is kept where, in which order, and who may drive. On a folder, by `file://`."""

import json
import shutil
import time
from pathlib import Path

import pytest

from reports import working_copies
from reports.home import Home, home_of
from reports.ledger import JOURNAL
from reports.remote_journal import JournalParts, read_journal
from reports.runs import check_new, find_run, list_runs, run_folders
from reports.sweep import Sweep, describe
from reports.working_copies import fetched, model_at, settle, unsettled
from runs import make_run
from simulation import Crash, CrashingJournal, Simulation, small_spec
from trainables.bucket import Bucket
from trainables.errors import UserError
from trainables.outages import StorageError
from trainables.places import Place, place_at
from trainables.urls import given_url, joined
from tuning import lease as leases
from tuning.lease import Lease, leased
from tuning.mirror import Mirror, mirrored

NAME = "trials/3/epoch-00001.safetensors"


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path}/bucket/sweeps/my"


def on_machine(name: str, tmp_path: Path, patch: pytest.MonkeyPatch) -> None:
    """From here on this is another machine, with a disk of its own."""
    patch.setenv("TUNEYARD_CACHE", str(tmp_path / name))


# places


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return place_at(str(tmp_path / "run") if request.param == "folder" else f"file://{tmp_path}/run")


def test_a_place_keeps_files(place: Place) -> None:
    assert (place.files("trials/3"), place.folders("trials"), place.has(NAME)) == ([], [], False)
    with pytest.raises(OSError, match="epoch-00001"), place.reading(NAME) as path:
        path.read_bytes()
    for content in ("first", "second"):
        with place.writing(NAME) as path:
            path.write_text(content)
        with place.reading(NAME) as path:
            assert path.read_text() == content
    with place.writing("trials/12/other") as path:
        path.write_text("")
    assert place.has(NAME)
    assert not place.has("trials/3")
    assert place.files("trials/3") == ["epoch-00001.safetensors"]
    assert (place.files("trials"), sorted(place.folders("trials"))) == ([], ["12", "3"])
    for _ in range(2):  # what is not there is removed already
        place.remove(NAME)
        place.remove_folder("trials/12")
    assert not place.has(NAME)
    assert place.files("trials/12") == []


def test_what_a_block_that_fails_wrote_is_not_kept(tmp_path: Path) -> None:
    bucket = Bucket(f"file://{tmp_path}/run")

    def fail() -> None:
        with bucket.writing(NAME) as path:
            path.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not bucket.has(NAME)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/runs/my", "no such object storage: got 'ftp://'"),
        ("s3://", "no bucket is named"),
        ("s3://bucket", "no run is named"),
        ("s3://bucket/..", "no run is named"),
        ("s3:///x/my", "bucket"),
        ("s3://bucket/my#2", "'#'"),
        ("s3://bucket/my sweep", "no run is named"),
        ("s3://me:secret@bucket/my", "s3://…: a URL with credentials"),
        ("s3://anonymous@bucket/my", "s3://…: a URL with credentials"),
        ("S3://bucket/my", "no such object storage: got 'S3://'"),
        ("s3a://bucket/my", "it is called s3:// here"),
        ("s3://bucket/my?secret_key=hidden", "^s3://…: a URL with credentials"),
        ("gs://me@bucket/my", "GOOGLE_APPLICATION_CREDENTIALS"),
        ("s3://bucket//my", "'//'"),
        ("gs://bucket/sweeps?scheme=http/my", "a path after the"),
        ("s3://bucket/sweeps?endpoint_override=http://host:9000/my", "a path after the"),
        ("gs://bucket/my?endpoint_override=http://host:9000", "Google's endpoint is host:port"),
    ],
)
def test_a_url_that_cannot_be_one(url: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        fetched(url)


def test_options_of_a_url_stay_at_its_end() -> None:
    assert joined("s3://bucket/sweeps/?region=eu-west-1", "my") == "s3://bucket/sweeps/my?region=eu-west-1"
    assert joined("file:///", "my") == "file:///my"


@pytest.mark.parametrize("slip", ["s3:/bucket/my", "s3:bucket/my", "s3//bucket/my", "gs:/bucket/my"])
def test_what_was_meant_as_a_url_is_no_folder(slip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"expected such as {slip[:2]}://bucket/my"):
        find_run(slip, runs=tmp_path)
    (tmp_path / slip).mkdir(parents=True)
    assert not given_url(slip), "there is such a folder"


def test_the_options_of_a_url_are_those_asked_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one working copy: another endpoint alone is another storage."""
    on_machine("ants", tmp_path, monkeypatch)
    monkeypatch.setattr(Bucket, "check", lambda bucket: None)
    first = working_copies._home("s3://bucket/my?region=eu")
    working_copies._made(first)
    second = working_copies._home("s3://bucket/my?region=us&scheme=http")
    assert (second.folder, second.copy) == (first.folder, first.copy)
    assert second.url == "s3://bucket/my?region=us&scheme=http"
    working_copies._made(second)
    known = home_of(first.folder)
    assert known is not None
    assert known.url == second.url
    assert working_copies._home("s3://bucket/my?endpoint_override=other").folder != first.folder


def test_a_hint_looks_at_few_folders(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("ants", tmp_path, monkeypatch)
    above = Bucket(url.rpartition("/")[0])
    for number in range(60):
        above.write(f"run-{number:02d}/sweep.json", b"{}")
    with pytest.raises(UserError, match=r"no such sweep; under .* there is: run-00, .* run-07$"):
        fetched(url)
    with pytest.raises(UserError, match="a sweep itself"):
        check_new("other", runs=joined(above.url, "run-00"))
    with pytest.raises(UserError, match="a sweep itself"):
        run_folders(joined(above.url, "run-00"))
    with pytest.raises(UserError, match="--runs takes it"):
        check_new(f"{above.url}/other", runs=tmp_path)
    with pytest.raises(UserError, match="this sweep exists"):
        check_new("run-00", runs=above.url)
    check_new("my", runs=above.url)


# the journal in parts


def test_a_journal_comes_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reports.remote_journal.PART", 10)
    bucket, path = Bucket(f"file://{tmp_path}/run"), tmp_path / "journal.log"
    parts, written = JournalParts(bucket, life="aa"), b""
    assert read_journal(bucket) is None
    for number in range(8):
        written += f"line {number} {'x' * number}\n".encode()
        path.write_bytes(written + b"torn")
        parts.bring(path)
        assert read_journal(bucket) == written, "whole lines alone"
    sizes = [len(bucket.read(f"journal/aa/{name}") or b"") for name in sorted(bucket.files("journal/aa"))]
    assert set(sizes[:-1]) == {10}
    # The next driver's journal takes its place, and the first one's late lines go nowhere.
    later = JournalParts(bucket, life="bb")
    path.write_bytes(b"another\n")
    later.bring(path)
    path.write_bytes(written + b"late\n")
    with pytest.raises(StorageError, match="another driver's journal counts"):
        parts.bring(path)
    assert read_journal(bucket) == b"another\n"


def test_a_note_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    bucket = Bucket(f"file://{tmp_path}/run")
    bucket.write("journal.json", b'{"life": "../.."}')
    with pytest.raises(UserError, match="damaged"):
        read_journal(bucket)
    bucket.write("journal.json", b"[1")
    with pytest.raises(UserError, match=r"journal\.json: damaged"):
        read_journal(bucket)


# homes and their working copies


def make(url: str, *, study: str = "my-1") -> Path:
    """A new run, as `driver.begin` makes one."""
    home = unsettled(url)
    run = make_run(home.folder.parent, name=home.folder.name)
    record = json.loads((run / "sweep.json").read_text())
    (run / "sweep.json").write_text(json.dumps({**record, "study": study}))
    (run / "sweep.yaml").write_text("as given")
    settle(home)
    return run


def test_a_run_is_found_by_its_url(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    made = make(url)
    on_machine("second", tmp_path, monkeypatch)
    runs = url.removesuffix("/my")
    for folder in (find_run(url, runs=Path("runs")), find_run("my", runs=runs), *run_folders(runs)):
        assert folder != made
        sweep = Sweep.open(folder)
        assert (sweep.name, sweep.address) == ("my", url)
        assert describe(sweep) == describe(Sweep.open(made))
    with pytest.raises(UserError, match="no such sweep"):
        find_run("your", runs=runs)
    with pytest.raises(UserError, match="this sweep exists"):
        make(url)
    assert home_of(tmp_path) is None


def test_which_journal_counts(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    first = make(url)
    home = home_of(first)
    assert home is not None
    ahead = (first / JOURNAL).read_bytes() + b'{"late": 1}\n'
    (first / JOURNAL).write_bytes(ahead)
    assert (fetched(url) / JOURNAL).read_bytes() == ahead, "a driver was killed before this was at home"
    # Somebody elsewhere goes on from what is at home.
    on_machine("second", tmp_path, monkeypatch)
    second = fetched(url)
    other = (second / JOURNAL).read_bytes() + b'{"other": 1}\n'
    (second / JOURNAL).write_bytes(other)
    JournalParts(home.bucket, life="bb").bring(second / JOURNAL)
    on_machine("first", tmp_path, monkeypatch)
    assert (fetched(url) / JOURNAL).read_bytes() == other
    # The run is removed, and another of its name begun.
    (first / "best").mkdir()
    shutil.rmtree(url.removeprefix("file://"))
    on_machine("second", tmp_path, monkeypatch)
    make(url, study="my-2")
    on_machine("first", tmp_path, monkeypatch)
    assert Sweep.open(fetched(url)).record["study"] == "my-2"
    assert not (first / "best").exists()


def test_folders_get_home_as_they_are(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    run = make(url)
    home = home_of(run)
    assert home is not None
    for name in ("best/old", "logs/trial-1.txt", "logs/.tmp"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text(name)
    home.push_made("best")
    home.push("logs")
    (run / "best" / "old").unlink()
    (run / "best" / "new").write_text("new")
    home.push_made("best")
    (run / "logs" / "trial-1.txt").unlink()
    home.push("logs")
    assert home.bucket.files("best") == ["new"], "as it was made last"
    assert home.bucket.files("logs") == ["trial-1.txt"], "other machines' logs stay"
    assert not home.bucket.has("home.json")


def test_the_sweep_file_at_home_is_the_users(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    run = make(url)
    home = home_of(run)
    assert home is not None
    with leased(home, say=print) as lease, mirrored(lease, journal=run / JOURNAL, say=print):
        home.bucket.write("sweep.yaml", b"edited")
    assert home.bucket.read("sweep.yaml") == b"edited"
    assert (fetched(url) / "sweep.yaml").read_text() == "edited"


def test_a_model_is_the_homes(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    make(url)
    home = home_of(fetched(url))
    assert home is not None
    home.bucket.write("best/model.json", b"{}")
    home.bucket.write("best/model.onnx", b"")
    assert sorted(path.name for path in model_at(url).iterdir()) == ["model.json", "model.onnx"]
    home.bucket.remove("best/model.onnx")
    assert model_at(f"{url}/best") == fetched(url) / "best"
    assert [path.name for path in model_at(url).iterdir()] == ["model.json"]
    with pytest.raises(UserError, match="no such sweep"):
        model_at(f"{url}x")


def test_a_note_in_a_strangers_run_counts_for_nothing(tmp_path: Path, url: str) -> None:
    run = make_run(tmp_path, name="my")
    (run / "home.json").write_text(json.dumps({"url": url, "copy": "1"}))
    assert home_of(run) is None
    assert Sweep.open(run).address == str(run)


def test_one_bad_run_hides_no_others(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    make(url)
    runs = url.removesuffix("/my")
    Bucket(runs).write("bad/sweep.json", b"{}")
    told: list[UserError] = []
    assert [folder.name for folder in run_folders(runs, tell=told.append)] == ["my"]
    assert len(told) == 1
    assert [sweep.name for sweep in list_runs(runs)] == ["my"]


def test_another_sweep_was_made_meanwhile(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    late = unsettled(url)
    make_run(late.folder.parent, name="my")
    on_machine("second", tmp_path, monkeypatch)
    make(url)
    before = read_journal(late.bucket)
    on_machine("first", tmp_path, monkeypatch)
    with pytest.raises(UserError, match="this sweep exists"):
        settle(late)
    assert read_journal(late.bucket) == before
    assert Sweep.open(fetched(url)).record["study"] == "my-1"


# one driver at a time


def test_a_driver_that_lives_is_found_out(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.05)
    monkeypatch.setattr(leases, "WATCH_S", 2.0)
    monkeypatch.setattr(leases, "_LOOK_AGAIN_S", 0.02)
    lines: list[str] = []
    on_machine("first", tmp_path, monkeypatch)
    here = home_of(make(url))
    on_machine("second", tmp_path, monkeypatch)
    there = home_of(fetched(url))
    assert here is not None
    assert there is not None
    with leased(here, say=lines.append) as held:
        held.check()
        assert there.driver()
        assert here.driver() is None, "its own"
        assert describe(Sweep.open(there.folder))["state"] == "running"
        with (
            pytest.raises(UserError, match="being run already: got 'process"),
            leased(there, say=lines.append),
        ):
            pass
        assert len(lines) == 1
        held.check()
    assert there.driver() is None
    with leased(there, say=lines.append):
        pass
    assert len(lines) == 1, "nobody was there to look for"


def test_a_dead_drivers_run_is_taken_over(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.05)
    monkeypatch.setattr(leases, "WATCH_S", 0.3)
    monkeypatch.setattr(leases, "_LOOK_AGAIN_S", 0.02)
    lines: list[str] = []
    on_machine("first", tmp_path, monkeypatch)
    here = home_of(make(url))
    assert here is not None
    dead = Lease(here)
    dead._write()
    with leased(here, say=lines.append):
        assert not lines, "whoever holds the copy knows that its driver is dead"
    dead._write()
    on_machine("second", tmp_path, monkeypatch)
    there = home_of(fetched(url))
    assert there is not None
    with leased(there, say=lines.append) as held:
        assert "may be at work on this sweep" in lines[0]
        with pytest.raises(UserError, match="was taken over by another driver: got 'process"):
            dead.check()
        time.sleep(0.2)
        held.check()


def test_a_driver_that_lost_its_run_spoils_nothing(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that began in the same moment, or one that was asleep while another took over."""
    on_machine("first", tmp_path, monkeypatch)
    run = make(url)
    home = home_of(run)
    assert home is not None
    early, late = Lease(home), Lease(home)
    early._write()
    asleep = Mirror(early, journal=run / JOURNAL)
    asleep.start()
    asleep.finish(say=print)
    late._write()
    winner = Mirror(late, journal=run / JOURNAL)
    winner.start()
    with (run / JOURNAL).open("ab") as file:
        file.write(b'{"more": 1}\n')
    removed: list[int] = []
    asleep.afterwards(lambda: removed.append(1))
    with pytest.raises(StorageError, match="another driver's journal counts by now"):
        asleep.step()
    with pytest.raises(UserError, match="was taken over"):
        Mirror(early, journal=run / JOURNAL).start()
    assert not removed
    winner.finish(say=print)
    assert read_journal(home.bucket) == (run / JOURNAL).read_bytes()


def test_ctrl_c_takes_patience_away(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From whoever waits for the storage in the end, wherever the driver was."""
    on_machine("ants", tmp_path, monkeypatch)
    home = home_of(make(url))
    assert home is not None
    hurried: list[str] = []
    monkeypatch.setattr(home.bucket.answers, "hurry", lambda: hurried.append("hurry"))
    with pytest.raises(KeyboardInterrupt), leased(home, say=print):
        raise KeyboardInterrupt
    with leased(home, say=print) as lease:
        journal = home.folder / JOURNAL
        with pytest.raises(KeyboardInterrupt), mirrored(lease, journal=journal, say=print):
            raise KeyboardInterrupt
    assert hurried == ["hurry", "hurry"]


def test_a_note_that_cannot_be_kept_stops_the_sweep(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.02)
    on_machine("first", tmp_path, monkeypatch)
    home = home_of(make(url))
    assert home is not None
    with leased(home, say=print) as lease:
        monkeypatch.setattr(Lease, "_write", lambda _: 1 / 0)
        deadline = time.monotonic() + 10
        while lease.lost is None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "ZeroDivisionError" in str(Mirror(lease, journal=None).trouble)


# the mirror


def test_what_waits_is_done_when_the_ledger_is_at_home(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_machine("first", tmp_path, monkeypatch)
    run = make(url)
    home = home_of(run)
    assert home is not None
    seen: list[bytes | None] = []
    with leased(home, say=print) as lease, mirrored(lease, journal=run / JOURNAL, say=print) as mirror:
        for number in range(5):
            with (run / JOURNAL).open("ab") as file:
                file.write(b"%d\n" % number)
            length = (run / JOURNAL).stat().st_size
            mirror.afterwards(lambda length=length: seen.append((read_journal(home.bucket) or b"")[:length]))
    assert len(seen) == 5
    assert all(at_home and at_home.endswith(b"%d\n" % number) for number, at_home in enumerate(seen))
    assert read_journal(home.bucket) == (run / JOURNAL).read_bytes()


def test_a_mirror_that_fails_stops_the_sweep(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine("first", tmp_path, monkeypatch)
    run = make(url)
    home = home_of(run)
    assert home is not None
    done: list[int] = []

    def fail(*_: object) -> None:
        raise OSError("no room")

    def drive() -> None:
        with leased(home, say=print) as lease, mirrored(lease, journal=run / JOURNAL, say=print) as mirror:
            monkeypatch.setattr(JournalParts, "bring", fail)
            mirror.afterwards(lambda: done.append(1))
            deadline = time.monotonic() + 10
            while mirror.trouble is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert mirror.trouble == "OSError: no room"

    with pytest.raises(StorageError, match="no room"):
        drive()
    assert not done, "what is not at home may still be needed"


@pytest.mark.parametrize("limit", [1, 3])
def test_a_driver_that_dies_is_followed_on_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """Whatever its mirror had brought home by then: all that it takes to go on is there, and the end is the same."""
    journal = CrashingJournal(monkeypatch)
    monkeypatch.setattr(leases, "WATCH_S", 0.0)
    spec = small_spec(trials=6, epochs=5, keep=2, pruner="none", seed=3)
    whole = Simulation(_folder(tmp_path / "whole"), spec)
    whole.drive()
    expected, files, writes = whole.table(), whole.files(), journal.writes
    assert [trial["state"] for trial in expected].count("complete") > 2
    for write in range(4, writes, 3):
        url = f"file://{tmp_path}/bucket/{write}"
        on_machine(f"first-{write}", tmp_path, monkeypatch)

        def begun(url: str) -> Path:
            home = unsettled(url)
            run = make_run(home.folder.parent, name=home.folder.name)
            (run / JOURNAL).unlink()
            (run / "sweep.yaml").write_text("")
            Simulation(run, spec)
            settle(home)
            return run

        first = home_of(begun(url))
        assert first is not None
        journal.at(write, "after")
        with pytest.raises(Crash):
            _drive(first, spec, limit=limit, seed=write)
        journal.never()
        on_machine(f"second-{write}", tmp_path, monkeypatch)
        second = home_of(fetched(url))
        assert second is not None
        done = _drive(second, spec, limit=1, seed=write)
        assert len(done.table()) == len(expected)
        if limit == 1:
            assert done.table() == expected, f"crash after write {write}"
            assert done.files() == files, f"crash after write {write}"
        assert all(trial.state != "running" for trial in done.open().trials())


def _drive(home: Home, spec: object, *, limit: int, seed: int) -> Simulation:
    """A driver's life with a mirror that lags behind by some epochs."""
    lease = Lease(home)
    lease._write()
    mirror = Mirror(lease, journal=home.folder / JOURNAL)
    mirror.step()
    sweep = Simulation(home.folder, spec, limit=limit, seed=seed, place=home.bucket, later=mirror.afterwards)  # type: ignore[arg-type]
    conductor = sweep.conductor()
    original = conductor.epoch_done

    def epoch_done(number: int, epoch: dict) -> bool:
        goes_on = original(number, epoch)
        if sweep.random.random() < 0.3:
            mirror.step()
        return goes_on

    conductor.epoch_done = epoch_done  # type: ignore[method-assign]
    sweep.work(conductor)
    mirror.step()
    return sweep


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
