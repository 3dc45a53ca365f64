"""Generated English sentences for the nine GLUE tasks, for use without the real data.

A small grammar draws short events (who does what to which thing where), and each task asks about
them what its GLUE namesake asks. Columns and label types are those of ``nyu-mll/glue``. The
sentences are deterministic. They are hard enough that a frozen encoder with adapters scores between
chance and ceiling and improves with more data. Some labels are deliberately wrong, so no method
reaches 100 %. The sentences test the software; scores on them say nothing about language or about
the paper's claims.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names of the tasks need no pyarrow; the function that makes tables does
    import pyarrow as pa

# Part of a trial's identity: increase it whenever the generated data changes.
VERSION = 1
TRAIN_ROWS = 2000
TEST_ROWS = 300
WRONG_LABELS = 0.04

Row = tuple[Any, ...]

AGENTS = ("farmer teacher doctor painter singer pilot nurse cook clerk sailor judge baker writer "
          "guard miner tailor").split()  # fmt: skip
# Base, third person, past, and a verb of similar meaning (base form).
VERBS = [
    ("clean", "cleans", "cleaned", "wash"), ("wash", "washes", "washed", "clean"),
    ("buy", "buys", "bought", "purchase"), ("purchase", "purchases", "purchased", "buy"),
    ("fix", "fixes", "fixed", "repair"), ("repair", "repairs", "repaired", "fix"),
    ("hide", "hides", "hid", "conceal"), ("conceal", "conceals", "concealed", "hide"),
    ("move", "moves", "moved", "shift"), ("shift", "shifts", "shifted", "move"),
    ("build", "builds", "built", "construct"), ("construct", "constructs", "constructed", "build"),
    ("break", "breaks", "broke", "smash"), ("smash", "smashes", "smashed", "break"),
]  # fmt: skip
VERB_FORMS = {verb[0]: verb for verb in VERBS}
# Thing and what it is a kind of.
THINGS = {
    "car": "vehicle", "truck": "vehicle", "bike": "vehicle", "table": "furniture",
    "chair": "furniture", "desk": "furniture", "knife": "tool", "hammer": "tool", "saw": "tool",
    "cup": "dish", "plate": "dish", "bowl": "dish", "coat": "clothing", "shirt": "clothing",
}  # fmt: skip
PLACES = ("garden kitchen market harbor station office village school barn church").split()
GOOD = ("great superb charming funny brilliant lovely moving clever fresh warm gripping rich "
        "delightful smart").split()  # fmt: skip
BAD = ("awful dull clumsy boring weak silly flat tedious cold shallow messy stale bland "
       "lifeless").split()  # fmt: skip
ASPECTS = ("plot acting story film music script cast ending dialogue humor").split()


@dataclass(frozen=True)
class Event:
    """An event, told in the past tense: who does what to which thing where."""

    agent: str
    verb: str
    thing: str
    place: str

    def active(self) -> str:
        return f"the {self.agent} {VERB_FORMS[self.verb][2]} the {self.thing} in the {self.place}"

    def passive(self) -> str:
        participle = {"broke": "broken", "hid": "hidden"}.get(
            past := VERB_FORMS[self.verb][2], past
        )
        return f"the {self.thing} in the {self.place} was {participle} by the {self.agent}"

    def near(self) -> Event:
        """The same event with a verb of similar meaning."""
        return replace(self, verb=VERB_FORMS[self.verb][3])

    def changed(
        self,
        rng: random.Random,
        slots: int = 1,
        among: tuple[str, ...] = ("agent", "verb", "thing", "place"),
    ) -> Event:
        """The event with ``slots`` of the slots in ``among`` changed in meaning."""
        event = self
        for slot in rng.sample(among, slots):
            same = (self.verb, VERB_FORMS[self.verb][3], getattr(self, slot))
            choices = [w for w in _VOCABULARY[slot] if w not in same]
            event = replace(event, **{slot: rng.choice(choices)})
        return event


_VOCABULARY: dict[str, list[str]] = {
    "agent": AGENTS,
    "verb": list(VERB_FORMS),
    "thing": list(THINGS),
    "place": PLACES,
}


def _event(rng: random.Random) -> Event:
    return Event(**{slot: rng.choice(words) for slot, words in _VOCABULARY.items()})


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _sst2(rng: random.Random) -> Row:
    """Opinions: "not" reverses one, and after "but" the last clause decides."""

    def opinion(positive: bool) -> str:
        negated = rng.random() < 0.25
        word = rng.choice(GOOD if positive != negated else BAD)
        degree = rng.choice(("", "so ", "very ", "quite ", "really ", "rather "))
        return f"the {rng.choice(ASPECTS)} is {'not ' if negated else degree}{word}"

    positive = rng.random() < 0.5
    if rng.random() < 0.15:
        return f"{opinion(not positive)} but {opinion(positive)}", int(positive)
    return opinion(positive), int(positive)


def _cola(rng: random.Random) -> Row:
    """Short sentences; the unacceptable ones have one grammatical error."""
    base, third, past, _ = rng.choice(VERBS)
    agent, thing = rng.choice(AGENTS), rng.choice(list(THINGS))
    if rng.random() < 0.6:
        form = rng.choice([f"{agent} {third}", f"{agent}s {base}", f"{agent} {past}"])
        return _sentence(f"the {form} the {thing}"), 1
    wrong = rng.choice(
        [
            f"the {agent}s {third} the {thing}",
            f"the {agent} has {base} the {thing}",
            f"the {agent} {past} {thing} the",
            f"{past} the {agent} the {thing}",
            f"the {agent} {third} the the {thing}",
        ]
    )
    return _sentence(wrong), 0


def _qqp(rng: random.Random) -> Row:
    """Two questions: paraphrases, or questions about different acts or things."""
    event = _event(rng)
    duplicate = rng.random() < 0.55
    if duplicate:
        other = event.near()
    else:
        other = event.changed(rng, rng.choice((1, 2)), among=("verb", "thing"))
    frames = ("How do I {} a {}?", "How can one {} a {}?", "Is it hard to {} a {}?")
    first, second = rng.sample(frames, 2)
    return (
        first.format(event.verb, event.thing),
        second.format(other.verb, other.thing),
        int(duplicate),
    )


def _mrpc(rng: random.Random) -> Row:
    """A paraphrase in the passive, or the passive of a changed event."""
    event = _event(rng)
    paraphrase = rng.random() < 0.55
    other = event.near() if paraphrase else event.changed(rng, rng.choice((1, 2)))
    return _sentence(event.active()), _sentence(other.passive()), int(paraphrase)


def _stsb(rng: random.Random) -> Row:
    """Similarity falls with the number of changed slots; a near verb costs little."""
    event = _event(rng)
    changed = rng.randrange(5)
    other = event.changed(rng, changed)
    score = 5.0 - 1.25 * changed
    if changed < 4 and other.verb == event.verb and rng.random() < 0.5:
        other, score = other.near(), score - 0.2
    score += rng.uniform(-0.3, 0.3)
    return _sentence(event.active()), _sentence(other.active()), min(5.0, max(0.0, round(score, 1)))


def _entailed(event: Event, rng: random.Random) -> str:
    return rng.choice(
        [
            event.passive(),
            event.near().active(),
            f"someone was in the {event.place}",
            f"the {event.agent} {VERB_FORMS[event.verb][2]} a {THINGS[event.thing]}".replace(
                "a furniture", "some furniture"
            ).replace("a clothing", "some clothing"),
        ]
    )


def _contradicted(event: Event, rng: random.Random) -> str:
    return rng.choice(
        [
            f"the {event.agent} never {VERB_FORMS[event.verb][2]} the {event.thing}",
            f"nobody was in the {event.place}",
            f"the {event.agent} did not {event.verb} anything",
        ]
    )


def _undecided(event: Event, rng: random.Random) -> str:
    other = event.changed(rng, rng.choice((1, 2)))
    return rng.choice(
        [
            other.active(),
            f"the {event.thing} was very {rng.choice(('old', 'new', 'cheap'))}",
            f"the {event.agent} likes the {event.place}",
        ]
    )


def _mnli(rng: random.Random) -> Row:
    event, label = _event(rng), rng.randrange(3)
    hypothesis = (_entailed, _undecided, _contradicted)[label](event, rng)
    return _sentence(event.active()), _sentence(hypothesis), label


def _rte(rng: random.Random) -> Row:
    event, label = _event(rng), rng.randrange(2)
    follow = _entailed if label == 0 else rng.choice((_undecided, _contradicted))
    return _sentence(event.active()), _sentence(follow(event, rng)), label


def _qnli(rng: random.Random) -> Row:
    """A question about an event; the sentence answers it or is about another event."""
    event, label = _event(rng), rng.randrange(2)
    past = VERB_FORMS[event.verb][2]
    question = rng.choice(
        [
            f"Who {past} the {event.thing}?",
            f"Where did the {event.agent} {event.verb} the {event.thing}?",
            f"What did the {event.agent} {event.verb} in the {event.place}?",
        ]
    )
    told = event if label == 0 else event.changed(rng, rng.choice((2, 3)))
    return question, _sentence(rng.choice((told.active(), told.passive()))), label


def _wnli(rng: random.Random) -> Row:
    """The verb decides whom the pronoun refers to."""
    first, second = rng.sample(AGENTS, 2)
    means_first = rng.random() < 0.5
    verb, reason = rng.choice(
        [("begged", "hungry"), ("feared", "timid"), ("envied", "jealous")]
        if means_first
        else [("thanked", "kind"), ("praised", "brave"), ("comforted", "sad")]
    )
    label = rng.randrange(2)
    who = first if means_first == bool(label) else second
    told = f"the {first} {verb} the {second} because he was {reason}"
    return _sentence(told), f"The {who} was {reason}.", label


# Task -> (column names as in GLUE, generator of one row).
_GENERATORS: dict[str, tuple[tuple[str, ...], Callable[[random.Random], Row]]] = {
    "mnli": (("premise", "hypothesis"), _mnli),
    "qqp": (("question1", "question2"), _qqp),
    "qnli": (("question", "sentence"), _qnli),
    "sst2": (("sentence",), _sst2),
    "cola": (("sentence",), _cola),
    "stsb": (("sentence1", "sentence2"), _stsb),
    "mrpc": (("sentence1", "sentence2"), _mrpc),
    "rte": (("sentence1", "sentence2"), _rte),
    "wnli": (("sentence1", "sentence2"), _wnli),
}

# The tasks with generated sentences.
TASKS = tuple(_GENERATORS)


def generate(task: str) -> tuple[pa.Table, pa.Table]:
    """Training table [2000 rows] and test table [300 rows] of a task, always the same.

    Columns: the task's text columns, ``label`` (int64; STS-B float32 from 0 to 5), ``idx`` (int32).
    No example of the test table occurs in the training table.
    """
    rng = random.Random(f"{task}-{VERSION}")
    columns, generator = _GENERATORS[task]
    rows: dict[Row, Row] = {}  # by text, so that no text occurs twice
    while len(rows) < TRAIN_ROWS + TEST_ROWS:
        row = generator(rng)
        rows.setdefault(row[:-1], row)
    examples = [_with_wrong_label(row, task, rng) for row in rows.values()]
    rng.shuffle(examples)  # the later a text was drawn, the longer it tends to be
    return (
        _table(examples[:TRAIN_ROWS], columns, task),
        _table(examples[TRAIN_ROWS:], columns, task),
    )


def _with_wrong_label(row: Row, task: str, rng: random.Random) -> Row:
    if rng.random() >= WRONG_LABELS:
        return row
    if task == "stsb":
        return (*row[:-1], round(rng.uniform(0, 5), 1))
    classes = 3 if task == "mnli" else 2
    return (*row[:-1], (row[-1] + rng.randrange(1, classes)) % classes)


def _table(rows: list[Row], columns: tuple[str, ...], task: str) -> pa.Table:
    import pyarrow as pa

    texts = {name: pa.array([row[i] for row in rows]) for i, name in enumerate(columns)}
    label_type = pa.float32() if task == "stsb" else pa.int64()
    label = pa.array([row[-1] for row in rows], type=label_type)
    return pa.table({**texts, "label": label, "idx": pa.array(range(len(rows)), type=pa.int32())})
