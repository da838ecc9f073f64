"""The report's last section: all that is needed to trust the numbers, and every warning that was given.

add_record(page, results)
"""

from pathlib import Path
from typing import Any

from reports.answers import pictures_of
from reports.markup import Markup, definitions, html_table, join, tag, whole_text
from reports.page import Page
from reports.results import Results
from reports.tables import Table, shown
from reports.told import explored_words, setting_cell
from trainables.wording import counted

_MOST_WARNINGS = 40
_MOST_CLASSES = 60
_KEPT = " not, as by default: "  # of an initialisation that could not draw everything (`trainables.models.init`)
_OUTPUT = {"classification": "class", "multilabel": "label", "regression": "value"}


def add_record(page: Page, results: Results) -> None:
    """Data, software, hardware, seeds, git, the sweep file, warnings."""
    record, spec = results.sweep.record, results.sweep.record["spec"]
    told = warnings(results)
    parts = [
        tag("h3", f"Warnings ({len(told)})" if told else "Warnings"),
        join(tag("p", shown(line), attributes={"class": "warning"}) for line in told[:_MOST_WARNINGS])
        if told
        else tag("p", "None were given."),
    ]
    if len(told) > _MOST_WARNINGS:
        parts.append(tag("p", f"… and {len(told) - _MOST_WARNINGS} more.", attributes={"class": "note"}))
    parts += [tag("h3", "Data"), _data(results), tag("h3", "Search and seeds"), _search(results)]
    parts += [tag("h3", "Starting weights"), _weights(results)]
    hardware = record.get("hardware") or {}
    versions = {name: version for name, version in record["versions"].items() if version is not None}
    parts += [
        tag("h3", "Software and hardware"),
        definitions([*versions.items(), ("git", record.get("git") or "not in a repository")]),
        definitions((name.replace("_", " "), setting_cell(value)) for name, value in hardware.items()),
        tag("h3", "Sweep file"),
        tag("details", tag("summary", "As it was given"), tag("pre", whole_text(record["file"] or "not recorded"))),
        tag("details", tag("summary", "As it was understood"), _resolved(spec)),
    ]
    page.section("record", "The record", *parts)


def warnings(results: Results) -> list[str]:
    """What the sweep's user was warned of: at its start, and by its trials."""
    record = results.sweep.record
    lines = [str(note) for note in record.get("notes", ())]
    lines += [f"picture left out: {name} ({reason})" for name, reason in record["data"]["skipped"]]
    for by_model in record["weights"].values():
        lines += [known["note"] for known in by_model.values() if _is_partial(known)]
    lines += [line for line in record.get("initialisation", ()) if _KEPT in line]
    for trial in results.trials:
        lines += [f"trial {trial.number}: it was interrupted: {reason}" for reason in trial.attempts]
    failed = results.standing["counts"]["failed"]
    if failed:
        lines.append(f"{failed} of {counted(len(results.trials), 'trial')} failed; the leaderboard says why")
    if results.standing["outcome"] == "errors":
        lines.append("the sweep stopped, as the same error came again and again")
    return list(dict.fromkeys(lines))


def _is_partial(known: dict[str, Any]) -> bool:
    """Whether weights that were asked for could not be had, or fit the network in part."""
    return bool(known["note"].startswith("RANDOM") or known.get("random") or known.get("unused"))


def _data(results: Results) -> Markup:
    record = results.sweep.record
    data, counts = record["spec"]["data"], record["data"]["counts"]
    facts = definitions(
        [
            *((name.replace("_", " "), setting_cell(value)) for name, value in data.items()),
            ("fingerprint", record["data"]["fingerprint"]),
            ("kept at", f"{record['data']['short_side']} pixels, {'grey' if record['channels'] == 1 else 'RGB'}"),
        ]
    )
    classes, splits = record["classes"], list(record["data"].get("pictures", counts))
    rows = [
        (name, *(counts.get(split, {}).get(name) for split in splits))
        for name in classes[:_MOST_CLASSES]
        if any(name in by_class for by_class in counts.values())
    ]
    if len(classes) > _MOST_CLASSES:
        rest = classes[_MOST_CLASSES:]
        rows.append((f"and {len(rest)} more", *(sum(counts.get(s, {}).get(n, 0) for n in rest) for s in splits)))
    rows.append(("all pictures", *(pictures_of(results.sweep, split) for split in splits)))
    return join((facts, html_table(Table("Pictures", (_OUTPUT[results.sweep.task], *splits), tuple(rows)))))


def _search(results: Results) -> Markup:
    spec = results.sweep.record["spec"]
    explored = tuple(
        (name, explored_words(dimension), _condition(dimension)) for name, dimension in spec["space"].items()
    )
    space = Table("Explored", ("setting", "values", "only when"), explored)
    plain = {**spec["search"], **spec["resources"]}
    seeds = [
        ("seed of the trials", {**spec["defaults"], **spec["trial"]}.get("seed")),
        ("seed of the data", spec["data"].get("seed")),
    ]
    said = definitions([*((name.replace("_", " "), setting_cell(value)) for name, value in plain.items()), *seeds])
    return join((said, html_table(space) if spec["space"] else Markup("")))


def _condition(dimension: dict[str, Any]) -> str | None:
    conditions = (dimension["when"] or {}).items()
    return "; ".join(f"{key} is {' or '.join(map(shown, those))}" for key, those in conditions) or None


def _weights(results: Results) -> Markup:
    rows = [
        (model, asked if known["kind"] != "file" else Path(asked).name, known["kind"], known["note"], known["digest"])
        for asked, by_model in results.sweep.record["weights"].items()
        for model, known in by_model.items()
    ]
    return html_table(Table("", ("model", "asked for", "kind", "what it came to", "SHA-256"), tuple(rows)))


def _resolved(spec: dict[str, Any]) -> Markup:
    trial = {**spec["defaults"], **spec["trial"]}
    fixed = tuple(
        (name, setting_cell(value), "" if name in spec["trial"] else "default")
        for name, value in trial.items()
        if name not in spec["space"]
    )
    return html_table(Table("Every trial", ("setting", "value", "from"), fixed))
