"""aa_ray.batches: every example once, padding only where needed."""

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from aa_ray import batches, tasks
from aa_ray.backbones import Backbone
from aa_ray.batches import Examples


@given(st.integers(1, 200), st.integers(1, 40), st.integers(0, 1000), st.integers(1, 5))
def test_an_epoch_sees_every_example_once(
    size: int, batch_size: int, seed: int, epoch: int
) -> None:
    found = list(batches.shuffled(size, batch_size, seed, epoch))
    assert sorted(np.concatenate(found)) == list(range(size))
    assert {len(b) for b in found[:-1]} <= {batch_size} and len(found[-1]) <= batch_size
    again = list(batches.shuffled(size, batch_size, seed, epoch))
    assert all((a == b).all() for a, b in zip(found, again, strict=True))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=100))
def test_evaluation_sees_every_example_once_in_order_of_length(lengths: list[int]) -> None:
    ids = [[7] * n for n in lengths]
    examples = Examples(ids, ids, np.zeros(len(ids)))
    order = np.concatenate(list(batches.by_length(examples, 8)))
    assert sorted(order) == list(range(len(ids)))
    assert [lengths[i] for i in order] == sorted(lengths)


def test_orders_differ_between_epochs() -> None:
    first, second = (next(batches.shuffled(100, 100, 42, epoch)) for epoch in (1, 2))
    assert (first != second).any()


def test_batch_pads_to_its_longest() -> None:
    examples = Examples([[5, 6], [7, 8, 9], [1]], [[0, 0], [0, 1, 1], [0]], np.array([0, 1, 0]))
    inputs, labels = batches.joint([examples], [np.array([0, 1])], torch.device("cpu"))
    assert inputs["input_ids"].tolist() == [[5, 6, 0], [7, 8, 9]]
    assert inputs["token_type_ids"].tolist() == [[0, 0, 0], [0, 1, 1]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert labels.tolist() == [[0, 1]]


def test_a_joint_batch_holds_the_sets_one_after_the_other() -> None:
    one = Examples([[5], [6, 7]], [[0], [0, 0]], np.array([0, 1]))
    other = Examples([[8, 9, 9], [9]], [[0, 0, 1], [0]], np.array([1, 0]))
    chosen = [np.array([1, 0]), np.array([0, 1])]
    inputs, labels = batches.joint([one, other], chosen, torch.device("cpu"))
    assert inputs["input_ids"].tolist() == [[6, 7, 0], [5, 0, 0], [8, 9, 9], [9, 0, 0]]
    assert labels.tolist() == [[1, 0], [1, 0]]


def test_tokenise_equals_the_tokenizers_own_padding(tiny: Backbone) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.path)
    first, second = ["the farmer bought a car", "the plot"], ["the doctor", "is great and very so"]
    table = pa.table({"sentence1": first, "sentence2": second, "label": [0, 1]})
    examples = batches.tokenise(table, tasks.get("rte"), tokenizer, max_length=8)
    inputs, _ = batches.joint([examples], [np.array([0, 1])], torch.device("cpu"))
    expected = tokenizer(
        first, second, truncation=True, max_length=8, padding=True, return_tensors="pt"
    )
    for name, value in inputs.items():
        assert torch.equal(value, expected[name])
