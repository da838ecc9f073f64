"""Pictures that are there more than once, and what that means for what is learnt from them.

for line in duplicates(catalog, picture_digests(catalog, cache=cache), skipped=store.skipped):
    print(line)
"""

from collections import defaultdict
from collections.abc import Iterable

from trainables.data.catalog import SPLITS, Catalog, Picture
from trainables.data.digests import UNREADABLE
from trainables.wording import counted


def duplicates(catalog: Catalog, digests: Iterable[str], *, skipped: Iterable[tuple[str, str]] = ()) -> list[str]:
    """A line for each kind of trouble that pictures of the same content make.

    Args:
        digests: of each picture of the catalog, in its order.
        skipped: name and reason of those that cannot be read, from which nothing is learnt.
    """
    unread = {name for name, _ in skipped}
    same: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        if digest != UNREADABLE and catalog.pictures[index].name not in unread:
            same[digest].append(index)
    groups = [[catalog.pictures[index] for index in indices] for indices in same.values() if len(indices) > 1]
    lines = []
    across = [group for group in groups if len(_splits(group)) > 1]
    if across:
        there = [[picture.name for picture in across[0] if picture.split == split] for split in SPLITS]
        names = " = ".join(min(names) for names in there if names)
        lines.append(
            f"{counted(len(across), 'picture')} in more than one split: results would look too good"
            f" ({names}{', …' if len(across) > 1 else ''})"
        )
    unlike = [group for group in groups if len(_targets(group)) > 1]
    if unlike:
        first = unlike[0][0]
        second = next(p for p in unlike[0] if (p.label, p.values) != (first.label, first.values))
        lines.append(
            f"{counted(len(unlike), 'picture')} there twice with different targets ({first.name} = {second.name}"
            f"{', …' if len(unlike) > 1 else ''})"
        )
    again = sum(len(group) - 1 for group in groups if len(_splits(group)) == len(_targets(group)) == 1)
    if again:
        lines.append(f"{counted(again, 'picture')} there again in the same split")
    return lines


def _splits(group: Iterable[Picture]) -> set[str]:
    return {picture.split for picture in group}


def _targets(group: Iterable[Picture]) -> set[tuple[int, tuple[float, ...]]]:
    return {(picture.label, picture.values) for picture in group}
