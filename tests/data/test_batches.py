"""aa_ray.data.batches: every example appears once, and padding only where necessary."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from aa_ray.core.backbones import Backbone
from aa_ray.data import batches, tasks
from aa_ray.data.batches import Examples


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 1000), st.integers(1, 5))
def test_an_epoch_sees_every_example_once(
    size: int, batch_size: int, seed: int, epoch: int
) -> None:
    found = list(batches.shuffled(size, batch_size, seed, epoch))
    assert sorted(np.concatenate(found)) == list(range(size))
    assert {len(b) for b in found[:-1]} <= {batch_size} and len(found[-1]) <= batch_size
    again = list(batches.shuffled(size, batch_size, seed, epoch))
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=100), st.integers(1, 300))
def test_evaluation_sees_every_example_once_in_order_of_length(
    lengths: list[int], tokens: int
) -> None:
    ids = [[7] * n for n in lengths]
    examples = Examples.from_lists(ids, None, np.zeros(len(ids)))
    found = list(batches.by_length(examples, tokens))
    order = np.concatenate(found)
    assert sorted(order) == list(range(len(ids)))
    assert [lengths[i] for i in order] == sorted(lengths)
    totals = [sum(lengths[i] for i in batch) for batch in found]
    assert all(total <= tokens or len(b) == 1 for total, b in zip(totals, found, strict=True))
    # No batch had room for the next example.
    following = [lengths[b[0]] for b in found[1:]]
    assert all(a + b > tokens for a, b in zip(totals, following, strict=False))


def test_orders_differ_between_epochs() -> None:
    first, second = (next(batches.shuffled(100, 100, 42, epoch)) for epoch in (1, 2))
    assert (first != second).any()


def test_tokenise_equals_the_tokenizers_own(tiny: Backbone) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.path)
    first, second = ["the farmer bought a car", "the plot"], ["the doctor", "is great and very so"]
    table = pa.table({"sentence1": first, "sentence2": second, "label": [0, 1]})
    examples = batches.tokenise(table, tasks.get("rte"), tokenizer, max_length=8)
    for i in range(2):
        expected = tokenizer(first[i], second[i], truncation=True, max_length=8)
        assert examples.id_lists()[i] == expected["input_ids"]
        assert examples.segment_lists()[i] == expected["token_type_ids"]
    assert examples.labels.tolist() == [0, 1]
