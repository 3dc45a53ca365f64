"""Loads and tokenises the examples of a group of trials."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import pyarrow as pa
from transformers import AutoTokenizer, PreTrainedModel

from aa_ray.core import model
from aa_ray.core.backbones import Backbone, reading
from aa_ray.data import regimes, tasks
from aa_ray.data.batches import Examples
from aa_ray.data.glue import Source, Splits, fingerprint, split
from aa_ray.data.rows import Rows
from aa_ray.data.tokenised import Tokeniser
from aa_ray.store.schema import ChanceColumns
from aa_ray.training import columns, watchdog
from aa_ray.training.trainer import Parts
from aa_ray.trial import Trial


class Facts(NamedTuple):
    """Facts about a trial's examples that are known before it trains.

    Attributes:
        chance: scores of constant answers, which ignore the example.
        fingerprint: fingerprint of the exact examples, in their order.
    """

    chance: ChanceColumns
    fingerprint: str


class Inputs:
    """Provides the examples of a process's trials.

    Texts are released before training: those of a full training set take more memory than
    everything that training needs.

    Args:
        source: source of the texts.
        backbone: the backbone whose tokenizer is used.
        say: is called with messages for the user.
    """

    def __init__(self, source: Source, backbone: Backbone, say: Callable[[str], object]) -> None:
        self._source = source
        self._backbone = backbone
        self._say = say
        self._tests: dict[tuple[str, int], Examples] = {}  # by task and length

    @cached_property
    def tokeniser(self) -> Tokeniser:
        """The tokeniser of the backbone."""
        with reading(self._backbone):
            tokenizer = AutoTokenizer.from_pretrained(self._backbone.path)
        return Tokeniser(tokenizer, self._say, watchdog.beat)

    def facts(self, trials: Sequence[Trial]) -> dict[int, Facts]:
        """Seed -> facts, for trials of one task and regime."""
        return {
            seed: Facts(columns.of_chance(trials[0], splits), fingerprint(splits))
            for seed, splits in self._splits(trials).items()
        }

    def examples(
        self, trials: Sequence[Trial], tokeniser: Tokeniser, encoder: PreTrainedModel
    ) -> tuple[dict[int, Parts], Examples]:
        """Seed -> training and development examples; and the test examples."""
        first = trials[0]
        task, segments = tasks.get(first.task), model.reads_segments(encoder)
        most = min(first.max_length, model.most_tokens(encoder) or first.max_length)

        def tokenised(rows: Rows) -> Examples:
            return tokeniser.examples(rows, task, most, segments)

        splits = self._splits(trials)
        # Trials with the same seed share their examples, and so the computation below their
        # adapters.
        parts = {
            seed: Parts(tokenised(of_seed.train), tokenised(of_seed.development))
            for seed, of_seed in splits.items()
        }
        key = first.task, first.max_length
        if key not in self._tests:
            self._tests[key] = tokenised(splits[first.seed].test)
        del splits
        pa.default_memory_pool().release_unused()
        return parts, self._tests[key]

    def _splits(self, trials: Sequence[Trial]) -> dict[int, Splits]:
        """Seed -> splits of the trials' task and regime."""
        first = trials[0]
        low_data = regimes.get(first.regime).low_data
        official = self._source.load(first.task, first.data, keep=low_data)
        pa.default_memory_pool().release_unused()
        return {trial.seed: split(official, trial.regime, trial.seed) for trial in trials}
