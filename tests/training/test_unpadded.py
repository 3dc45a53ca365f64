"""aa_ray.training.unpadded: every token appears once, and grouping can be undone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aa_ray.data.batches import Examples
from aa_ray.training import groups, unpadded

CPU = torch.device("cpu")
# Lengths of the examples of each context; all contexts have the same number of examples.
BATCHES = st.integers(1, 20).flatmap(
    lambda examples: st.lists(
        st.lists(st.integers(1, 40), min_size=examples, max_size=examples), min_size=1, max_size=4
    )
)


def sets(lengths: list[list[int]]) -> list[Examples]:
    """Return sets of examples with unique token ids; segment ids number the examples."""
    following = iter(range(1, 100_000))
    return [
        Examples.from_lists(
            [[next(following) for _ in range(n)] for n in of_context],
            [[b] * n for b, n in enumerate(of_context)],
            np.arange(len(of_context)),
        )
        for of_context in lengths
    ]


@given(BATCHES)
def test_contexts_hold_their_examples_one_after_the_other(lengths: list[list[int]]) -> None:
    parts = sets(lengths)
    order = np.arange(len(lengths[0]))[::-1]  # in reverse
    batch, labels = unpadded.pack(parts, [order] * len(parts), CPU)
    assert batch.num_contexts == len(lengths) and labels.tolist() == [order.tolist()] * len(parts)
    first = batch.first_token.view(len(parts), -1)
    tokens = batch.inputs["input_ids"].shape[1]
    assert tokens >= max(map(sum, lengths)) and tokens <= 1.07 * max(map(sum, lengths)) + 1
    for s, part in enumerate(parts):
        expected = [part.id_lists()[i] for i in order]
        flat = [token for ids in expected for token in ids]
        assert batch.inputs["input_ids"][s, : len(flat)].tolist() == flat
        positions = [position for ids in expected for position in range(len(ids))]
        assert batch.inputs["position_ids"][s, : len(flat)].tolist() == positions
        membership = batch.membership[s]
        assert membership.sum(dim=1).tolist() == [1.0] * len(flat) + [0.0] * (tokens - len(flat))
        segments = batch.inputs["token_type_ids"][s, : len(flat)]
        assert (order[membership[: len(flat)].argmax(dim=1)] == segments.numpy()).all()
        starts = batch.inputs["input_ids"].flatten()[first[s]].tolist()
        assert starts == [ids[0] for ids in expected]


@given(BATCHES)
def test_groups_hold_each_example_in_a_row(lengths: list[list[int]]) -> None:
    batch, _ = unpadded.pack(sets(lengths), [np.arange(len(lengths[0]))] * len(lengths), CPU)
    tokens = batch.inputs["input_ids"].flatten()
    grouped = batch.to_groups(tokens[None])[0]
    texts, start = [], 0
    for group in batch.groups:
        rows = grouped[start : start + group.rows * group.length].view(group.rows, group.length)
        start += group.rows * group.length
        real = torch.ones(rows.shape, dtype=torch.bool)
        if group.blocked is not None:
            assert set(group.blocked.unique().tolist()) <= {0.0, -torch.inf}
            real = group.blocked[:, 0, 0] == 0
        texts += [row[of_row].tolist() for row, of_row in zip(rows, real, strict=True)]
    assert start == len(grouped)
    expected = [ids for part in sets(lengths) for ids in part.id_lists()]
    assert sorted(texts) == sorted(expected)


@given(BATCHES)
def test_there_and_back_and_its_gradient(lengths: list[list[int]]) -> None:
    """Real tokens return unchanged; spare tokens have no gradient."""
    batch, _ = unpadded.pack(sets(lengths), [np.arange(len(lengths[0]))] * len(lengths), CPU)
    real = batch.membership.any(dim=-1).flatten()
    x = torch.randn(2, len(real), 3, requires_grad=True)
    back = batch.to_tokens(batch.to_groups(x))
    assert torch.equal(back[:, real], x[:, real])
    upstream = torch.randn_like(x)
    back.backward(upstream)
    assert x.grad is not None and torch.equal(x.grad[:, real], upstream[:, real])
    assert not x.grad[:, ~real].any()


def drawn(name: str, cells: int) -> list[str]:
    """Return the cells of one line of the drawing in the module's docstring."""
    lines = (unpadded.__doc__ or "").splitlines()
    [line] = [line for line in lines if line.startswith(f"    {name}  ")]
    return [line[22 + 5 * cell : 27 + 5 * cell].strip() for cell in range(cells)]


def test_the_drawing_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's docstring draws a text of three tokens and one of two."""
    monkeypatch.setattr(groups, "ROW_MULTIPLE", 4)
    monkeypatch.setattr(unpadded, "_rounded", lambda tokens: tokens + 1)
    names = {0: "0", 10: "a0", 11: "a1", 12: "a2", 20: "b0", 21: "b1"}
    examples = Examples.from_lists([[10, 11, 12], [20, 21]], [[0] * 3, [0] * 2], np.arange(2))
    batch, _ = unpadded.pack([examples], [np.arange(2)], CPU)
    [ids] = batch.inputs["input_ids"].tolist()
    assert drawn("input_ids", 6) == [names[token] for token in ids]
    for name, tensor in (
        ("position_ids", batch.inputs["position_ids"][0]),
        ("example_of_token", batch.example_of_token[0]),
        ("token_at", batch.positions.token_at),
        ("position_of", batch.positions.position_of),
    ):
        assert drawn(name, len(tensor)) == [str(value) for value in tensor.tolist()], name
    for name, numbers, cells in (
        ("first_token", batch.first_token, 6), ("spare", batch.spare, 6),
        ("ends", batch.once.ends, 7),
        ("padding", batch.positions.padding, 8),
    ):  # fmt: skip
        marks = [str(cell) if cell in numbers.tolist() else "" for cell in range(cells)]
        assert drawn(name, cells) == marks, name
    is_padding = set(batch.positions.padding.tolist())
    standing = [names[ids[token]] for token in batch.positions.token_at.tolist()]
    assert drawn("which is", 8) == [
        "." if position in is_padding else name for position, name in enumerate(standing)
    ]
    [group] = batch.groups
    assert group.blocked is not None
    blocked = group.blocked.flatten().tolist()
    assert drawn("blocked", 8) == ["0" if value == 0 else "-inf" for value in blocked]
