"""The effect of each difference between paper and released code on the average score."""

import dataclasses

from aa_ray.core.deviations import DEVIATIONS, Deviation
from aa_ray.report import verdicts
from aa_ray.report.claims_table import p_value
from aa_ray.report.results import Line, Results, score
from aa_ray.report.statistics import Effect
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.report.text import listed, seeds_text
from aa_ray.study.grid import UNVARIED, Study, Variant


def alternatives(deviation: Deviation) -> list[str]:
    """All values except the default."""
    return [value for value in deviation.choices if value != deviation.default]


def variant_name(deviation: Deviation, value: str) -> str:
    return f"{deviation.name}={value}"


def with_variants(study: Study) -> Study:
    """The study with its defaults, and repeated with one setting changed at a time."""
    changed = [
        Variant(variant_name(deviation, value), ((deviation.name, value),))
        for deviation in DEVIATIONS.values()
        for value in alternatives(deviation)
    ]
    return study.with_variants([*UNVARIED, *changed])


def table(results: Results) -> Table:
    """A section for each difference that affects a method: what it is, and its effects."""
    study = results.study
    changes = {
        _heading(deviation, value): _effects(results, variant_name(deviation, value))
        for deviation in DEVIATIONS.values()
        for value in alternatives(deviation)
    }
    without = sorted(heading.split()[0] for heading, effects in changes.items() if not effects)
    tested = [effect for effects in changes.values() for effect in effects.values()]
    p_values = iter(verdicts.holm([verdicts.differs(effect) for effect in tested]))
    sections = []
    for heading, effects in changes.items():
        if not effects:
            continue
        lines = [
            (line.title, _entries(results, line, effect, next(p_values)))
            for line, effect in effects.items()
        ]
        sections.append(Section(heading, lines))
    caption = (
        "Fidelity. Effect of changing each setting in which paper and released code differ: change "
        "of the test score (x 100) from the default here, averaged over tasks and regimes, with a "
        "95 % interval, paired over task, regime and seed. p: that there is no change, adjusted by "
        "Holm's method for the lines of this table. Selections follow each variant's own aa "
        f"trials. Backbone {study.backbone.identity}, tasks {listed(study.tasks)}, "
        f"regimes {listed(study.regimes)}, seeds {seeds_text(study.seeds)}."
    )
    if without:
        caption += f" No method here is affected by {listed(without)}."
    columns = ["change", "95 % interval", "pairs", "p (Holm)", "average here"]
    return Table(caption, columns, sections)


def _effects(results: Results, variant: str) -> dict[Line, Effect]:
    """The change from each line on which the variant acts to its variant."""
    pairs = [(dataclasses.replace(line, variant=variant), line) for line in results.lines()]
    return {
        line: results.effect(varied, line, results.study.regimes)
        for varied, line in pairs
        if _acts(results, varied, line)
    }


def _heading(deviation: Deviation, value: str) -> str:
    paper = deviation.paper or "does not say"
    return (
        f"{deviation.key} {deviation.about}: {deviation.name}={value}, {deviation.choices[value]} "
        f"(paper: {paper}, released code: {deviation.released}, here: {deviation.default})"
    )


def _acts(results: Results, varied: Line, line: Line) -> bool:
    """Whether the variant changes a trial of the line's method, as far as trials are known."""
    study = results.study
    places = [
        (task, regime, seed)
        for regime in study.regimes
        for task in study.tasks
        for seed in study.seeds_of(regime)
    ]
    trials = [(results.trial(varied, *place), results.trial(line, *place)) for place in places]
    known = [(a, b) for a, b in trials if a is not None and b is not None]
    return not known or any(a.id != b.id for a, b in known)


def _entries(results: Results, line: Line, effect: Effect, p: float) -> list[Entry]:
    """The change from the line to its variant, and the average score of the line."""
    if not effect.pairs:
        return [Entry(DASH)] * 5
    here = [
        score(row)
        for regime in results.study.regimes
        for rows in results.rows(line, regime).values()
        for row in rows.values()
    ]
    return [
        Entry(f"{effect.mean:+.2f}", mean=effect.mean),
        Entry(f"{effect.low:+.2f} to {effect.high:+.2f}" if effect.bounded else DASH),
        Entry(str(effect.pairs), mean=effect.pairs),
        p_value(p),
        Entry(f"{sum(here) / len(here):.2f}", mean=sum(here) / len(here)),
    ]
