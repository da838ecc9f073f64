"""`tune data split` and `tune data show`: make train and val folders; look at a set of pictures."""

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console

from trainables.data.sources import DataSettings
from trainables.wording import counted
from tuning.cli.options import LocalPath

if TYPE_CHECKING:
    from tuning.data_split import How


class _Share(click.ParamType):
    """A fraction below 1, or a whole number of pictures."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        text = str(value)
        try:
            number = int(text) if text.isdigit() else float(text)
        except ValueError:
            number = -1.0
        if isinstance(number, int) or 0 < number < 1:
            return number
        return self.fail(f"{text!r} is neither a fraction such as 0.2 nor a number of pictures such as 2000")


@click.group(
    epilog="Example: tune data split dogsandcats pets --val 0.2",
    short_help="Make train, val and test folders; look at a data set.",
)
def data() -> None:
    """Split a folder of pictures, or look at what a sweep would learn from."""


@data.command(
    short_help="Make train, val and test folders of one folder of pictures.",
    epilog="Example: tune data split dogsandcats pets --val 2000 --test 0.1 --link",
)
@click.argument("source", type=LocalPath(path_type=Path))
@click.argument("target", type=LocalPath(path_type=Path))
@click.option("--val", type=_Share(), required=True, metavar="SHARE", help="For validation: 0.2, or 2000 pictures.")
@click.option("--test", type=_Share(), default="0", metavar="SHARE", help="For the final test, as --val; none without.")
@click.option("--move", "how", flag_value="move", help="Move the pictures.")
@click.option("--copy", "how", flag_value="copy", default="copy", help="Copy them, which is the default.")
@click.option("--link", "how", flag_value="link", help="Make links to them.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the choice.")
@click.option(
    "--pattern",
    default=DataSettings.pattern,
    show_default=True,
    metavar="NAME",
    help="Where in a file's name the class is: <label>, with <number> for digits and * for anything.",
)
def split(source: Path, target: Path, val: float, test: float, how: "How", seed: int, pattern: str) -> None:
    """Make TARGET/train, TARGET/val and TARGET/test of the pictures in SOURCE.

    SOURCE is a folder with a folder for each class, or one whose pictures have their class in their names, such as
    cat.17.jpg. Each class gives its share. TARGET must not be there; after an interruption the same command goes on.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from reports.tables import printable
    from tuning.data_split import DONE, carry_out, plan_split

    plan = plan_split(source, target, val=val, test=test, seed=seed, pattern=pattern, how=how)
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("pictures", total=len(plan.targets))
        carry_out(plan, progress=lambda done, total: progress.update(task, completed=done, total=total))
    for name, numbers in plan.counts().items():
        parts = ", ".join(f"{number:,} {printable(label)}" for label, number in list(numbers.items())[:10])
        more = f" and {counted(len(numbers) - 10, 'more class', 'more classes')}" if len(numbers) > 10 else ""
        click.echo(f"{name:5} {sum(numbers.values()):6,}  {parts}{more}")
    place = printable(str(target))
    done = f"{DONE[how]} {counted(len(plan.targets), 'picture')} to {place}."
    click.echo(f"{done} In a sweep file: source: folder, path: {place}")


@data.command(
    short_help="Counts, sizes, warnings, and a picture of training pictures.",
    epilog="Example: tune data show my.yaml -o pictures.png --set augment=strong",
)
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=LocalPath(dir_okay=False, path_type=Path),
    help="The PNG to write; by default NAME-data.png.",
)
@click.option("--pictures", type=click.IntRange(1, 400), default=36, show_default=True, help="Pictures in the grid.")
@click.option("--epoch", type=click.IntRange(1), default=1, show_default=True, help="Whose views to show.")
@click.option("--set", "sets", multiple=True, metavar="NAME=VALUE", help="Change a setting, such as augment=strong.")
def show(file: str, output: Path | None, pictures: int, epoch: int, sets: tuple[str, ...]) -> None:
    """Show what a sweep would learn from: counts, sizes, warnings, and a picture of training pictures.

    FILE is a sweep file, a folder of pictures or a CSV file. The picture shows the first ones of an epoch as the
    network sees them, after augmentation. Where settings are explored, their defaults are taken; --set takes others.
    """
    from tuning.data_picture import write_picture
    from tuning.data_show import look, spec_of, told_of

    console = Console(markup=False, highlight=False)
    spec, name = spec_of(file, sets=sets)
    with told_of(file):
        found = look(spec, console=Console(stderr=True))
    for line in found.lines():
        console.print(line, soft_wrap=True)
    target = output or Path(f"{name}-data.png")
    count = write_picture(found, target, pictures=pictures, epoch=epoch)
    console.print(f"Wrote {target}: {counted(count, 'training picture')} as the network sees them.", soft_wrap=True)
