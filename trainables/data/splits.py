"""A split by seed, stratified or plain, and a part of all splits: the same on every machine.

    splits = stratified_split(names, labels, classes=("ants", "bees"), val=0.2, test=0.1, seed=0)
    splits = plain_split(names, val=0.2, test=0.1, seed=0, instead="say the splits in a column")
    fewer = limited(catalog, limit=6000, seed=0)

A picture's place depends on a hash of (seed, its name), not on a shuffle of the list, so a picture added later moves
few others between the splits.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from trainables.data.catalog import Catalog, Split
from trainables.errors import UserError


def stratified_split(
    names: Sequence[str],
    labels: Sequence[int],
    *,
    classes: Sequence[str],
    val: float,
    test: float,
    seed: int,
    instead: str = "make train/ and val/ folders",
) -> list[Split]:
    """The split of each picture: in every class, the fractions `val` and `test` of its pictures, rounded.

    Whole numbers from 1 are numbers of pictures, of which each class gives its share. Every class gets at least one
    picture in each split that is asked for. `UserError` when the fractions leave nothing to train on, or when a class
    has too few pictures for that; it tells what to do `instead`.
    """
    check_fractions(val=val, test=test)
    splits: list[Split] = ["train"] * len(names)
    by_label = defaultdict(list)
    for index, label in enumerate(labels):
        by_label[label].append(index)
    sizes = [len(by_label[label]) for label in range(len(classes))]
    for (label, name), for_val, for_test in zip(
        enumerate(classes), _shares(sizes, val), _shares(sizes, test), strict=True
    ):
        members = _ranked(by_label[label], names, seed)
        if len(members) - for_val - for_test < 1:
            raise UserError(
                f"class {name!r} has too few pictures to split" if name else "too few pictures to split",
                where="data.path",
                got=len(members),
                expected=f"at least {2 + (test > 0)}"
                + (", and fewer for data.val and data.test" if len(members) > 2 else ""),
                hint=f"add pictures, or {instead}" + ("; data.test: 0 needs one less" * (test > 0)),
            )
        for index in members[:for_val]:
            splits[index] = "val"
        for index in members[for_val : for_val + for_test]:
            splits[index] = "test"
    return splits


def plain_split(names: Sequence[str], *, val: float, test: float, seed: int, instead: str) -> list[Split]:
    """The split of each picture where there are no classes: the fractions `val` and `test` of all, rounded.

    `UserError` as for `stratified_split`.
    """
    labels = [0] * len(names)
    return stratified_split(names, labels, classes=("",), val=val, test=test, seed=seed, instead=instead)


def limited(catalog: Catalog, *, limit: int | None, seed: int) -> Catalog:
    """The catalog with `limit` of its training pictures and the same share of the others.

    In every split each class keeps its share, and one picture at least (classification); which pictures stay depends
    on (seed, name) alone, so a larger limit keeps those of a smaller one, as nearly as rounding allows. `UserError`
    when there are more classes than that.
    """
    groups: dict[Split, dict[int, list[int]]] = {"train": {}, "val": {}, "test": {}}
    for index, picture in enumerate(catalog.pictures):
        groups[picture.split].setdefault(picture.label, []).append(index)
    training = sum(map(len, groups["train"].values()))
    if limit is None or limit >= training:
        return catalog
    if limit < len(groups["train"]):
        raise UserError(
            "fewer training pictures than there are classes",
            where="data.limit",
            got=limit,
            expected=f"at least {len(groups['train'])}",
        )
    names = [picture.name for picture in catalog.pictures]
    kept = []
    for by_class in groups.values():
        sizes = [len(members) for members in by_class.values()]
        total = max(len(sizes), round(sum(sizes) * limit / training))
        for members, size in zip(by_class.values(), _apportioned(sizes, total), strict=True):
            kept += _ranked(members, names, seed)[:size]
    kept.sort()
    return dataclasses.replace(
        catalog,
        pictures=tuple(catalog.pictures[index] for index in kept),
        arrays=None if catalog.arrays is None else catalog.arrays[kept],
        notes=(*catalog.notes, f"{limit:,} of {training:,} training pictures are used (data.limit)"),
    )


def _apportioned(sizes: Sequence[int], total: int) -> list[int]:
    """`total` shared out in proportion to `sizes`, none below one or above its size.

    By largest remainders (Hamilton's method); all there are where `total` is more. `total` is no less than the number
    of sizes.
    """
    if total >= sum(sizes):
        return list(sizes)
    whole = np.array(sizes)
    exact = whole * (total / whole.sum())
    shares = np.maximum(1, np.floor(exact).astype(int))
    while (missing := total - shares.sum()) != 0:
        step = 1 if missing > 0 else -1
        wanting = np.where((shares < whole) if step > 0 else (shares > 1), step * (exact - shares), -np.inf)
        shares[wanting.argmax()] += step
    return shares.tolist()


def check_fractions(*, val: float, test: float) -> None:
    """`UserError` unless `val` is above 0, `test` is not below it, and both leave something to train on.

    A whole number from 1 is one of pictures, which only the pictures themselves can tell to be too many.
    """
    if not (0 < val < 1 or _is_number(val)):
        raise UserError("not a fraction of the pictures", where="data.val", got=val, expected="above 0 and below 1")
    if not (0 <= test < 1 or _is_number(test)):
        raise UserError("not a fraction of the pictures", where="data.test", got=test, expected="from 0 to below 1")
    if sum(share for share in (val, test) if not _is_number(share)) >= 1:
        raise UserError(
            "data.val and data.test leave nothing to train on",
            where="data.test",
            got=round(val + test, 6),
            expected="a sum below 1",
        )


def _is_number(wanted: float) -> bool:
    return isinstance(wanted, int) and wanted >= 1


def _shares(sizes: Sequence[int], wanted: float) -> list[int]:
    """How many pictures of each class: the fraction `wanted` of each, or their parts of so many in all."""
    if isinstance(wanted, int) and wanted:
        return _apportioned(sizes, max(wanted, len(sizes)))
    return [max(1, round(size * wanted)) if wanted > 0 else 0 for size in sizes]


def _ranked(members: Sequence[int], names: Sequence[str], seed: int) -> list[int]:
    return sorted(members, key=lambda index: (_rank(seed, names[index]), names[index]))


def _rank(seed: int, name: str) -> bytes:
    return blake2b(f"{seed}\0{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()
