"""`tune logs`: what a sweep that was handed to a cluster prints."""

import click

from tuning.cli.options import jobs_address_option


@click.command(epilog="Example: tune logs my-3fa9c2d1 -f")
@click.argument("job", metavar="ID")
@jobs_address_option
@click.option("--follow", "-f", is_flag=True, help="Go on until the job ends.")
def logs(job: str, address: str | None, follow: bool) -> None:
    """Print what the job ID, a sweep handed over with `tune submit`, has printed."""
    from tuning.jobs import Jobs

    jobs = Jobs(address)
    for text in jobs.follow(job) if follow else [jobs.log(job)]:
        click.echo(text, nl=False)
