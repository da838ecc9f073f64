"""`tune doctor`: versions, hardware, whose `tune` is on the PATH, caches."""

import click


@click.command(epilog="Example: tune doctor", short_help="Versions, hardware, whose `tune` is on the PATH, caches.")
@click.option("--clear-cache", is_flag=True, help="Remove what can be computed again: decoded pictures and the like.")
def doctor(clear_cache: bool) -> None:
    """Say what this installation is made of and what is wrong with it.

    The exit code is 0 even when something is wrong; lines with advice begin with `!`.
    """
    from tuning.doctor import examine, mb

    if clear_cache:
        from trainables.data.cache import cache_folder, clear

        click.echo(f"cleared {mb(clear(cache_folder()))} from {cache_folder()}")
        return
    for finding in examine():
        click.echo(f"{'!' if finding.advice else ' '} {finding.what:<24}{finding.state}")
        if finding.advice:
            click.echo(f"  {'':<24}{finding.advice}")
