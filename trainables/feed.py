"""What a trial's batches are, and what of the network they still have to go through.

    feed = Feed(model, resident=resident, settings=settings, store=store, data_seed=0, arithmetic=arithmetic,
                prepare=prepare, sharing=Sharing(cache_folder(), bytes=10**10))
    stream = feed.training(epoch=5)
    train(stream.network, stream.batches, prepare=stream.prepare, …)
    feed.validation()

With a part of the network frozen, batches are what that part makes of the pictures, and the network is the rest of it,
wherever that gives the same: not before the part has stopped moving, and not where pictures are mixed before it.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from trainables.arithmetic import Arithmetic, Preparation
from trainables.data.loaders import evaluation_batches, training_batches
from trainables.data.passes import CHUNK
from trainables.data.prefetching import Prefetched, pinned
from trainables.data.store import PixelStore
from trainables.data.transforms import views_are_dear
from trainables.features import Shared, Sharing
from trainables.models.build import Model
from trainables.models.freezing import has_moving_statistics
from trainables.models.resident import Resident
from trainables.settings import TrialSettings
from trainables.training.compiling import Compiled
from trainables.training.loop import Prepare


@dataclass(frozen=True)
class Stream:
    """Batches, how they get to the device, and the network they go through.

    `shared` says how far other trials' work reaches: the last frozen stage, `views`, or `nothing`; and why no further.
    """

    batches: Iterable[tuple[Tensor, Tensor]]
    prepare: Prepare
    network: nn.Module
    shared: str


class Feed:
    """The batches of one trial; with `sharing` None it shares nothing."""

    def __init__(
        self,
        model: Model,
        *,
        resident: Resident,
        settings: TrialSettings,
        store: PixelStore,
        data_seed: int,
        arithmetic: Arithmetic,
        prepare: Preparation,
        sharing: Sharing | None,
    ) -> None:
        self._model = model
        self._resident = resident
        self._settings = settings
        self._store = store
        self._data_seed = data_seed
        self._prepare = prepare
        self._pin_memory = arithmetic.device.type == "cuda"
        self._rests: dict[tuple[int, bool], nn.Module] = {}
        self._compiled: dict[nn.Module, nn.Module] = {}
        self._shared: Shared | None = None
        if sharing and sharing.bytes:
            self._shared = Shared(
                sharing,
                resident=resident,
                settings=settings,
                store=store,
                data_seed=data_seed,
                arithmetic=arithmetic,
                prepare=prepare,
            )

    @property
    def seconds(self) -> float:
        """Spent so far on what is shared: on computing it, or on waiting for others to."""
        return self._shared.seconds if self._shared else 0.0

    def training(self, *, epoch: int) -> Stream:
        """The training pictures of an epoch, in the trial's order."""
        mixed = bool(self._settings.mixup or self._settings.cutmix)
        stages, why = self._stages("mixed pictures" if mixed else None, views=views_are_dear(self._settings))
        if stages is None or self._shared is None:
            batches = training_batches(
                self._store,
                settings=self._settings,
                data_seed=self._data_seed,
                epoch=epoch,
                pin_memory=self._pin_memory,
            )
            return Stream(batches, self._prepare, self._learner(self._model.network), f"nothing{why}")
        batches = self._fetched(self._shared.training_batches(stages, epoch=epoch))
        stream = self._stream(batches, stages, why, training=True)
        return dataclasses.replace(stream, network=self._learner(stream.network))

    def validation(self) -> Stream:
        """The validation pictures, in the order of their indices."""
        stages, why = self._stages(None, views=False)
        if stages is None or self._shared is None:
            batches = evaluation_batches(
                self._store, "val", settings=self._settings, batch_size=CHUNK, pin_memory=self._pin_memory
            )
            return Stream(batches, self._prepare, self._model.network, f"nothing{why}")
        return self._stream(self._fetched(self._shared.evaluation_batches(stages)), stages, why, training=False)

    def _fetched(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterable[tuple[Tensor, Tensor]]:
        """Shared rows, got ready for a GPU while it is at work as `training_batches` gets views ready."""
        return Prefetched(pinned(batches)) if self._pin_memory else batches

    def _stream(self, batches: Iterable[tuple[Tensor, Tensor]], stages: int, why: str, *, training: bool) -> Stream:
        if stages == 0:
            return Stream(batches, self._prepare, self._model.network, f"views{why}")
        if (stages, training) not in self._rests:
            self._rests[stages, training] = self._resident.anatomy.rest(self._model.network, stages, training=training)
        name = self._model.facts.stages[stages - 1].name
        return Stream(batches, self._prepare.features, self._rests[stages, training], name)

    def _learner(self, network: nn.Module) -> nn.Module:
        """The network, or the rest of it, as it is trained."""
        if not self._settings.compile:
            return network
        if network not in self._compiled:  # the last one goes with the layers that were frozen
            self._compiled = {network: Compiled(network, batch_size=self._settings.batch_size)}
        return self._compiled[network]

    def _stages(self, obstacle: str | None, *, views: bool) -> tuple[int | None, str]:
        """Behind how many stages rows are shared, None for not at all; and why not behind all that are frozen.

        `views` says whether it pays to share those at least.
        """
        shared, frozen = self._shared, self._model.frozen
        if shared is None:
            return None, ""
        if has_moving_statistics(self._model):
            obstacle = "frozen BatchNorm that moves"
        if frozen and obstacle is None:
            if shared.fits(frozen):
                return frozen, ""
            obstacle = "no room"
        why = f" ({obstacle})" if frozen and obstacle else ""
        return (0 if views and shared.fits(0) else None), why
