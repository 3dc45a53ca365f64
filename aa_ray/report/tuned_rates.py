"""The tuned rates of each method: for captions, and as a separate table."""

from aa_ray.core import architectures
from aa_ray.data import tasks
from aa_ray.report.results import Results
from aa_ray.report.tables import DASH, Entry, Section, Table
from aa_ray.study.tuning import Choice

# Marks after a rate: others were exactly as good; it is the smallest or largest one tried.
TIED, AT_EDGE = "=", "|"


def rates_text(results: Results) -> str:
    """The learning rates of a study, for captions."""
    study, rates = results.study, results.study.rates
    others = f"{rates.rational:g} (rationals), {rates.switch:g} (switches)"
    if study.tuning is None:
        return f"learning rates {rates.adapter:g} (adapters), {others}"
    tried = " ".join(f"{rates.adapter:g}" for rates in study.tuning.settings)
    seeds = " ".join(map(str, study.tuning.seeds))
    text = (
        f"learning rates of adapters tuned for each method, task and regime on development sets, "
        f"{len(study.tuning.settings)} settings each ({tried}), seeds {seeds}; {others}"
    )
    choices = [choice for choice in results.choices().values() if choice is not None]
    tied, at_edge = sum(c.tied for c in choices), sum(c.at_edge for c in choices)
    if tied or at_edge:
        text += f"; of {len(choices)} choices, {tied} tied and {at_edge} at the edge of the range"
    return text


def table(name: str, results: Results) -> Table:
    """Each method's tuned adapter rate for each task, and its development score x 100."""
    choices, study = results.choices(), results.study
    sections = []
    for regime in study.regimes:
        lines = [
            (
                architectures.get(method).title,
                [_entry(choices.get((method, task, regime))) for task in study.tasks],
            )
            for method in study.methods
        ]
        sections.append(Section(results.regime_title(regime), lines))
    caption = (
        f"{name}. Adapter rates with the best mean development score, and that score x 100; "
        f"{rates_text(results)}. {TIED} after a rate: others were exactly as good. {AT_EDGE}: it "
        "is the smallest or largest rate tried."
    )
    return Table(caption, [tasks.get(task).title for task in study.tasks], sections)


def _entry(choice: Choice | None) -> Entry:
    if choice is None:
        return Entry(DASH)
    marks = TIED * choice.tied + AT_EDGE * choice.at_edge
    best = max(choice.means)
    return Entry(f"{choice.rates.adapter:g}{marks} ({100 * best:.1f})", mean=choice.rates.adapter)
