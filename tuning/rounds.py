"""The engine's rounds: one, and another whenever trials are to share a GPU with more or fewer others.

    packing = packing_for(spec, session, fits=ledger.fits_a_gpu(), left=…)
    rounds(conductor, lambda: Engine(…, resources=trial_resources(spec, packing)).run(must_end=…), places=…, say=print)

Ray fixes a place's resources when the place is made. So the trials at work end their epoch, the places go, and the
trials go on from their checkpoints in places of another size.
"""

from collections.abc import Callable

from tuning.cluster import RaySession
from tuning.conductor import Conductor
from tuning.packing import Packing, most_a_gpu
from tuning.spec import Spec


def rounds(
    conductor: Conductor, run: Callable[[], None], *, places: Callable[[], int], say: Callable[[str], None]
) -> None:
    """Has the engine run, and again whenever trials are to share a GPU with more or fewer others.

    Args:
        run: one run of the engine, with the resources that a trial has by then.
        places: how many trials of these may run at once.
        say: told of the change, in a line.
    """
    run()
    while conductor.packing and conductor.repacking and not conductor.stopping:
        say(conductor.packing.settle())
        conductor.limit = places()
        run()


def packing_for(spec: Spec, session: RaySession, *, fits: int | None, left: int) -> Packing | None:
    """How trials come to share a GPU; None where there is none, or the file says what share each has.

    Args:
        fits: how many fit on one, where that is known.
        left: trials that have not ended: there will not be more at a time.
    """
    if spec.resources.gpus_per_trial != "auto" or not session.has_gpu:
        return None
    wanted = min(left, spec.resources.workers or left)
    most = most_a_gpu(session.nodes(), cpus=spec.resources.cpus_per_trial, workers=wanted)
    return Packing(most=most, fits=fits)


def trial_resources(spec: Spec, packing: Packing | None) -> dict[str, float]:
    """What Ray sets aside for one trial at present."""
    given = spec.resources.gpus_per_trial
    gpus = packing.share if packing else 0.0 if given == "auto" else given
    resources = {"CPU": spec.resources.cpus_per_trial}
    return {**resources, "GPU": gpus} if gpus else resources
