"""All that a report is made of, from one reading of the ledger, so that its files agree with each other.

results = Results.of(Sweep.open(run))
results.answer.best, results.comparisons[0].title
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reports.answers import Answer, answer_of
from reports.collapsed import Collapsed, collapsed_of
from reports.comparisons import categorical_settings, comparison
from reports.ledger import TrialRecord
from reports.sweep import Sweep, standing
from reports.tables import Table


@dataclass(frozen=True)
class Results:
    """A sweep as it stood at one moment."""

    sweep: Sweep
    trials: Sequence[TrialRecord]
    standing: dict[str, Any]
    answer: Answer
    comparisons: Sequence[Table]
    collapsed: Collapsed | None

    @classmethod
    def of(cls, sweep: Sweep) -> "Results":
        """Reads the ledger once.

        Raises:
            UserError: it cannot be read.
        """
        ledger = sweep.ledger()
        trials = ledger.trials()
        return cls(
            sweep=sweep,
            trials=trials,
            standing=standing(sweep, ledger, trials),
            answer=answer_of(sweep, trials, wall_seconds=ledger.elapsed_s()),
            comparisons=[comparison(trials, name, mode=sweep.mode) for name in categorical_settings(trials)],
            collapsed=collapsed_of(sweep, trials),
        )
