"""A stratified split by seed, the same on every machine.

    splits = stratified_split(names, labels, classes=("ants", "bees"), val=0.2, test=0.1, seed=0)

A picture's place depends on a hash of (seed, its name), not on a shuffle of the list, so a picture added later moves
few others between the splits.
"""

from collections.abc import Sequence
from hashlib import blake2b

from trainables.data.catalog import Split
from trainables.errors import UserError


def stratified_split(
    names: Sequence[str],
    labels: Sequence[int],
    *,
    classes: Sequence[str],
    val: float,
    test: float,
    seed: int,
) -> list[Split]:
    """The split of each picture: in every class, the fractions `val` and `test` of its pictures, rounded.

    Every class gets at least one picture in each split that is asked for. `UserError` when the fractions leave
    nothing to train on, or when a class has too few pictures for that.
    """
    check_fractions(val=val, test=test)
    splits: list[Split] = ["train"] * len(names)
    for label, name in enumerate(classes):
        members = [index for index, other in enumerate(labels) if other == label]
        members.sort(key=lambda index: (_rank(seed, names[index]), names[index]))
        for_val, for_test = _share(len(members), val), _share(len(members), test)
        if len(members) - for_val - for_test < 1:
            raise UserError(
                f"class {name!r} has too few pictures to split",
                where="data.path",
                got=len(members),
                expected=f"at least {2 + (test > 0)}"
                + (", and fewer for data.val and data.test" if len(members) > 2 else ""),
                hint="add pictures, or make train/ and val/ folders" + ("; data.test: 0 needs one less" * (test > 0)),
            )
        for index in members[:for_val]:
            splits[index] = "val"
        for index in members[for_val : for_val + for_test]:
            splits[index] = "test"
    return splits


def check_fractions(*, val: float, test: float) -> None:
    """`UserError` unless `val` is above 0, `test` is not below it, and both leave something to train on."""
    if not 0 < val < 1:
        raise UserError("not a fraction of the pictures", where="data.val", got=val, expected="above 0 and below 1")
    if not 0 <= test < 1:
        raise UserError("not a fraction of the pictures", where="data.test", got=test, expected="from 0 to below 1")
    if val + test >= 1:
        raise UserError(
            "data.val and data.test leave nothing to train on",
            where="data.test",
            got=round(val + test, 6),
            expected="a sum below 1",
        )


def _share(count: int, fraction: float) -> int:
    return max(1, round(count * fraction)) if fraction > 0 else 0


def _rank(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}\0{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
