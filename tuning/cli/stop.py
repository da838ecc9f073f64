"""`tune stop`: stop a sweep that was handed to a cluster."""

import shlex

import click

from tuning.cli.options import jobs_address_option


@click.command(epilog="Example: tune stop my-3fa9c2d1")
@click.argument("job", metavar="ID")
@jobs_address_option
def stop(job: str, address: str | None) -> None:
    """Stop the job ID, a sweep handed over with `tune submit`. It can be resumed."""
    from tuning.jobs import Jobs

    jobs = Jobs(address)
    run = jobs.one(job).run
    if jobs.stop(job):
        click.echo(f"{job} is asked to stop\ngo on   tune submit --resume {shlex.quote(run)}")
    else:
        click.echo(f"{job} had ended already: {jobs.one(job).state}")
