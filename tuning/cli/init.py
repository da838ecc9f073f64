"""`tune init [NAME]`: list the ready sweep files, or copy one out to edit."""

import shlex
from pathlib import Path

import click

from trainables.errors import UserError
from trainables.files import replaced
from tuning.cli.options import LocalPath
from tuning.ready import likeliest, ready_files, title


@click.command(
    epilog="Example: tune init resnet18.yaml -o my.yaml",
    short_help="List the ready sweep files, or copy one out.",
)
@click.argument("name", required=False)
@click.option("-o", "--output", type=LocalPath(path_type=Path), help="The file to write; by default NAME.yaml here.")
@click.option("--force", is_flag=True, help="Overwrite the file if it is there.")
def init(name: str | None, output: Path | None, force: bool) -> None:
    """List the ready sweep files, or copy the one called NAME out to edit it."""
    ready = ready_files()
    if name is None:
        if output is not None:
            raise UserError("which sweep file?", where=f"-o {output}", expected=f"a NAME: {', '.join(ready)}")
        width = max(len(name) for name in ready)
        for name, path in ready.items():
            click.echo(f"{name:{width}}  {title(path)}")
        click.echo("\nCopy one out: tune init NAME -o my.yaml")
        return
    source = ready.get(name) or ready.get(f"{name}.yaml")
    if source is None:
        hint = f"did you mean {near!r}?" if (near := likeliest(name)) else None
        raise UserError("no such ready sweep file", got=name, expected=f"one of {', '.join(ready)}", hint=hint)
    target = output or Path(source.name)
    if target.is_dir():
        target = target / source.name
    if target.exists() and not target.is_file():  # such as /dev/stdout
        raise UserError("no file that could be written over", where=str(target))
    if target.exists() and not force:
        raise UserError("the file is there already", where=str(target), hint="choose another with -o, or add --force")
    if not target.parent.is_dir():
        raise UserError("no such folder", where=str(target.parent))
    with replaced(target) as temporary:
        temporary.write_bytes(source.read_bytes())
    file = shlex.quote(str(target))
    click.echo(f"Wrote {target}. Edit it, then: tune check {file}; tune search --space {file}")
