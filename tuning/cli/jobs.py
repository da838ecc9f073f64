"""`tune jobs`: the sweeps handed to a cluster."""

import click

from tuning.cli.options import jobs_address_option


@click.command(epilog="Example: tune jobs --address http://10.0.0.5:8265")
@jobs_address_option
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def jobs(address: str | None, as_json: bool) -> None:
    """List the sweeps that were handed to a Ray cluster with `tune submit`, the latest first."""
    import dataclasses
    import json

    from rich.console import Console

    from reports.tables import Table, local_time
    from reports.terminal import print_line, print_table
    from tuning.jobs import Jobs

    found = Jobs(address).all()
    if as_json:
        click.echo(json.dumps({"schema": 1, "jobs": [dataclasses.asdict(job) for job in found]}, indent=2))
    elif not found:
        print_line("no sweep was submitted there; submit one: tune submit --space FILE", console=Console())
    else:
        rows = tuple((job.id, job.sweep, job.state, local_time(job.since), job.run) for job in found)
        print_table(Table("Jobs", ("id", "sweep", "state", "since", "run"), rows), console=Console())
