"""The two contestants of the kill test, as programs on disk that can be started again: tuneyard, and plain Ray Tune.

sweep = OurSweep(folder, work)
subprocess.run(sweep.command())        # starts it; once begun, the same call goes on with it
sweep.executed                         # [("0", 1), ("0", 2), …]: trial and epoch, in order, as often as executed
sweep.ended(), sweep.result()
"""

import hashlib
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, Protocol

from benchmarks.ours import search_command, write_sweep_file
from benchmarks.work import Work
from reports.sweep import Sweep, describe

Executed = list[tuple[str, int]]


class KilledSweep(Protocol):
    """What the kill test asks of a contestant. Trials go by a key that is the same after a resume."""

    name: str
    marks: tuple[Path, ...]  # folders by which its processes can be told

    def command(self) -> list[str]:
        """Starts the sweep, or goes on with it."""

    def look(self) -> int:
        """Takes note of what was executed since the last call. Returns how many epochs were executed in all."""

    def settle(self) -> None:
        """After the end of a life: takes note of what no look saw."""

    @property
    def executed(self) -> Executed:
        """Trial and epoch, once for each time it was executed."""

    def ended(self) -> set[str]:
        """Trials that were over, completed or stopped early."""

    def final(self) -> Counter[str]:
        """The trials in the finished sweep's result."""

    def result(self) -> Any:
        """The finished sweep's result, times apart, to be compared with another's."""


class OurSweep:
    """`tune search` and `tune resume` with one worker. An epoch counts as executed when its checkpoint appears."""

    name = "tuneyard"

    def __init__(self, folder: Path, work: Work) -> None:
        self.run = folder / "runs" / "sweep"
        self.marks: tuple[Path, ...] = ()
        self.executed: Executed = []
        search = {"pruner": "asha", "seed": work.seed}
        self._file = write_sweep_file(work, folder / "sweep.yaml", trial={"precision": "fp32"}, search=search)
        self._seen: set[tuple[str, str, int]] = set()

    def command(self) -> list[str]:
        if self.run.exists():
            return [sys.executable, "-m", "tuning", "resume", str(self.run), "--workers", "1", "--quiet"]
        return search_command(self._file, runs=self.run.parent, workers=1)

    def look(self) -> int:
        for path in sorted(self.run.glob("trials/*/epoch-*.safetensors")):
            try:
                file = (path.parent.name, path.name, path.stat().st_mtime_ns)
            except FileNotFoundError:  # it was removed meanwhile
                continue
            if file not in self._seen:
                self._seen.add(file)
                self.executed.append((path.parent.name, int(path.stem.removeprefix("epoch-"))))
        return len(self.executed)

    def settle(self) -> None:
        """A checkpoint that came and went between two looks is known from the ledger."""
        self.look()
        seen = set(self.executed)
        recorded = [(str(trial["number"]), epoch["epoch"]) for trial in self._trials() for epoch in trial["epochs"]]
        self.executed += [one for one in recorded if one not in seen]

    def ended(self) -> set[str]:
        return {str(trial["number"]) for trial in self._trials() if trial["state"] != "running"}

    def final(self) -> Counter[str]:
        return Counter(str(trial["number"]) for trial in self._trials() if trial["state"] != "running")

    def result(self) -> Any:
        for trial in (trials := self._trials()):
            for epoch in trial["epochs"]:
                for name in [name for name in epoch if name.startswith("seconds")]:
                    del epoch[name]
        weights = sorted((self.run / "best").glob("*.safetensors"))
        return {"trials": trials, "weights": [hashlib.sha256(path.read_bytes()).hexdigest() for path in weights]}

    def _trials(self) -> list[dict[str, Any]]:
        return describe(Sweep.open(self.run))["trials"]


class PlainRaySweep:
    """`benchmarks.restored`: Ray's own `Tuner` and `Tuner.restore`."""

    name = "ray-tune"

    def __init__(self, folder: Path, work: Work) -> None:
        self._folder, self._work = folder, folder / "work.json"
        work.save(self._work)
        # Short, for Ray puts sockets there; known to nobody else, so what carries it is this sweep's.
        self._ray = Path(tempfile.mkdtemp(prefix="kill-", dir="/tmp"))
        self.marks: tuple[Path, ...] = (self._ray,)

    def command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks.restored", str(self._work), str(self._folder), str(self._ray)]

    def look(self) -> int:
        return len(self.executed)

    def settle(self) -> None:
        """Nothing: each epoch wrote its line."""

    @property
    def executed(self) -> Executed:
        return [(line["key"], line["epoch"]) for line in self._observed("epoch")]

    def ended(self) -> set[str]:
        return {line["key"] for line in self._observed("end")}

    def final(self) -> Counter[str]:
        return Counter(key for key, _, _ in self.result())

    def result(self) -> Any:
        return sorted(json.loads((self._folder / "result.json").read_text(encoding="utf-8")))

    def _observed(self, event: str) -> list[dict[str, Any]]:
        try:
            text = (self._folder / "observed.jsonl").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        whole = text[: text.rfind("\n") + 1]  # a line that is being written, or was when it was killed, is none
        return [line for line in map(json.loads, whole.splitlines()) if line["event"] == event]
