"""The trials of a study, each looked at only until it has ended.

    history = History(study)
    for trial in history.news():       # those that ended since the last call
        ...
    history.open                       # those that have not: {7: FrozenTrial, 8: FrozenTrial}

What a sweep asks at every step is answered from this, so a step costs the same after 10,000 trials as after ten; it
would not with a list of all trials each time.
"""

from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial


class History:
    """One reader's place in a study. `seen` is how many trials there are, `open` those among them that go on."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.seen = 0
        self.open: dict[int, FrozenTrial] = {}

    def news(self) -> list[FrozenTrial]:
        """The trials that have ended since the last call, by number; brings `seen` and `open` up to date."""
        ended = []
        for number in self.open:
            self.open[number] = trial = trial_of(self.study, number)
            if trial.state.is_finished():
                ended.append(trial)
        for trial in ended:
            del self.open[trial.number]
        while (new := _trial_if_any(self.study, self.seen)) is not None:
            self.seen += 1
            if new.state.is_finished():
                ended.append(new)
            else:
                self.open[new.number] = new
        return ended


def trial_of(study: Study, number: int) -> FrozenTrial:
    """A trial as it is now, without listing the others.

    Raises:
        KeyError: there is none of this number.
    """
    storage: BaseStorage = study._storage
    return storage.get_trial(storage.get_trial_id_from_study_id_trial_number(study._study_id, number))


def _trial_if_any(study: Study, number: int) -> FrozenTrial | None:
    try:
        return trial_of(study, number)
    except KeyError:
        return None
