"""The report's first words: how the sweep stands, and the answer.

    page = Page(title=sweep.name, lead=lead(results))
    add_answer(page, results, reproduce="tune search --space …")
    Path("index.html").write_text(page.html(), encoding="utf-8")

A section is made from data that has been computed already; the others are in modules of their own.
"""

import shlex
from collections.abc import Sequence

from reports.answers import Answer, pictures_of
from reports.charts import ended_s
from reports.markup import Markup, bdi, join, tag, text, words
from reports.page import Page, command
from reports.ranking import on_new_pictures
from reports.results import Results
from reports.shared_work import SharedWork, shared_work
from reports.tables import ENDED, shown, state_in_words
from reports.tested import score_on_test
from trainables.wording import counted


def lead(results: Results) -> Markup:
    """How the sweep stands, in a line under its name."""
    standing, record = results.standing, results.sweep.record
    counts = ", ".join(
        f"{number:,} {state_in_words(state, standing['state'])}"
        for state, number in standing["counts"].items()
        if number
    )
    begun = sum(standing["counts"].values())
    state = tag("span", standing["state"], attributes={"class": f"state {standing['state']}"})
    facts = [
        f"{begun:,} of {counted(standing['budget']['trials'], 'trial')} begun" + (f" ({counts})" if counts else ""),
        counted(len(record["classes"]), *_OUTPUTS[results.sweep.task]),
        f"judged by {results.sweep.metric}",
        f"begun {record['created'][:16].replace('T', ' ')} UTC",
    ]
    return tag("p", state, ENDED.get(standing["outcome"], ""), " · ", " · ".join(facts), attributes={"class": "lead"})


_OUTPUTS = {"classification": ("class", "classes"), "multilabel": ("label",), "regression": ("value",)}


def add_answer(page: Page, results: Results, *, reproduce: str | None) -> None:
    """The best trial, how sure it is the best, what it cost, and the command that trains it again."""
    answer, sweep = results.answer, results.sweep
    best = answer.best
    if best is None:
        begun = "no trial is complete yet" if results.trials else "no trial has begun yet"
        verb = "resume" if results.standing["state"] == "interrupted" else "show"
        hint = f"tune {verb} {shlex.quote(sweep.address)}"
        page.section("answer", "Answer", tag("p", f"There is none: {begun}."), command(hint))
        return
    whose = f"{sweep.metric}, trial {best.number}, epoch {best.best_epoch} of {len(best.epochs)}"
    numbers = [_number(best.value, answer.noise, whose)]
    if tested := score_on_test(sweep, best):
        whose = f"{tested.metric} of its exported model, on {counted(tested.pictures, 'picture')} that chose nothing"
        numbers.append(_number(tested.value, tested.noise, whose))
    chips = join(
        tag("li", tag("span", words(name)), tag("b", bdi(value)))
        for name, value in (best.params or dict(list(best.settings.items())[:8])).items()
    )
    settings = tag("div", tag("h3", "With these settings"), tag("ul", chips, attributes={"class": "chips"}))
    cards = [_sureness(results), _cost(results), *_learnt_nothing(results)]
    top = tag("div", tag("div", *numbers), settings, attributes={"class": "answer"})
    again = Markup("")
    if reproduce is not None:
        again = join(
            (
                tag("h3", "Train it again"),
                tag(
                    "p",
                    "best.yaml beside this page has the settings, seeds and paths of this trial:",
                    attributes={"class": "note"},
                ),
                command(reproduce),
            )
        )
    page.section("answer", "Answer", top, tag("div", *cards, attributes={"class": "cards"}), again)


def _number(value: float | None, noise: float | None, whose: str) -> Markup:
    sure = "" if noise is None else tag("span", f" ± {noise:#.2g}", attributes={"class": "noise"})
    return tag("div", text(value), sure, tag("small", whose), attributes={"class": "figure-number"})


def _sureness(results: Results) -> Markup:
    answer, metric = results.answer, results.sweep.metric
    lines = []
    if answer.gap is None:
        lines.append("It is the only complete trial: there is nothing to compare it with.")
    elif answer.gap == 0:
        lines.append("The second-best trial equals it; of equals the lower validation loss comes first.")
    else:
        count = round(answer.gap * answer.pictures) if answer.noise is not None else 0
        pictures = f" ({counted(count, 'picture')} of {answer.pictures:,})" if count else ""
        lines.append(f"{shown(answer.gap)}{pictures} ahead of the second-best trial.")
    if answer.noise is not None:
        lines.append(f"One standard error of {metric} on {counted(answer.pictures, 'picture')} is {answer.noise:#.2g}.")
        lines += _as_good(answer)
    elif answer.pictures:
        lines.append(f"No standard error is given for {metric}, as it is no share of pictures.")
    expected = on_new_pictures(results.sweep.mode)
    chose = f"The val pictures chose the trial and its epoch, so expect {expected} on new ones."
    if pictures_of(results.sweep, "test"):
        chose += " The test pictures chose nothing: see the best model."
    return _card("How sure", [*lines, chose])


def _as_good(answer: Answer) -> list[str]:
    """How many complete trials are as good as the best within the noise, and the cheapest of them."""
    near, others, best, cheapest = answer.within_noise or 0, answer.complete - 1, answer.best, answer.cheapest
    if not others or best is None or cheapest is None:
        return []
    if others == 1:
        line = f"The other complete trial {'lies' if near else 'does not lie'} within that of the best"
    else:
        many, verb = f"{near:,}" if near else "None", "lie" if near > 1 else "lies"
        line = f"{many} of the {others:,} other complete trials {verb} within that of the best"
    if not near:
        return [f"{line}."]
    if cheapest is best:
        return [f"{line}, and none of them took less time."]
    took = f"{duration(cheapest.seconds)} where the best took {duration(best.seconds)}"
    return [f"{line}. The cheapest of them is trial {cheapest.number}: {shown(cheapest.value)} after {took}."]


def _cost(results: Results) -> Markup:
    answer = results.answer
    assert answer.best is not None
    lines = [
        f"{duration(answer.wall_seconds)} of wall time for {counted(len(results.trials), 'trial')}.",
        f"{counted(answer.epochs, 'epoch')}, {duration(answer.trial_seconds)} of training and validation in all.",
        f"The best trial itself: {counted(len(answer.best.epochs), 'epoch')} in {duration(answer.best.seconds)}.",
    ]
    found = ended_s(answer.best)
    if answer.wall_seconds > 0 and found:
        lines.append(f"It was found after {duration(found)}, {found / answer.wall_seconds:.0%} of the time.")
    return _card("What it cost", [*lines, *shared_words(shared_work(results.trials))])


def _learnt_nothing(results: Results) -> list[Markup]:
    """A card on trials that learnt nothing, where there are any."""
    found = results.collapsed
    if found is None:
        return []
    number = len(found.trials)
    lines = [f"{number:,} of {counted(found.judged, 'trial')} got no further than chance: {found.chance_in_words}."]
    if cause := found.cause:
        there, others = (f"{shown(low)} to {shown(high)}" for low, high in (cause.collapsed, cause.others))
        lines.append(f"Their {cause.setting} was {there}; that of the others {others}.")
    return [_card("What learnt nothing", lines)]


def shared_words(work: SharedWork) -> list[str]:
    """What trials took from each other, in words."""
    lines = []
    if work.ready or work.making:
        line = f"In {work.ready:,} of {counted(work.epochs, 'epoch')} the work that trials share (frozen layers,"
        line += " views of the pictures) was done already"
        if work.making:
            line += f"; {work.making:,} spent {duration(work.making_s)} on it"
        if work.told:
            line += f". At that pace this saved about {duration(work.saved_s)} in {counted(work.told, 'epoch')}"
        if work.told < work.ready:
            line += f". For {work.ready - work.told:,} it was done before this sweep, in a time that is not recorded"
        lines.append(f"{line}.")
    for why, epochs in work.unshared.items():
        lines.append(f"In {counted(epochs, 'epoch')} frozen layers were part of the training, not shared: {why}.")
    return lines


def _card(title: str, lines: Sequence[str]) -> Markup:
    return tag(
        "div", tag("h3", title), tag("ul", join(tag("li", line) for line in lines)), attributes={"class": "card"}
    )


def duration(seconds: float) -> str:
    """A time for people: `48 s`, `3 min 5 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
