"""aa_ray.data.generated: GLUE's columns and types, fixed sentences, no leak into the test set."""

import hashlib
import json

import numpy as np
import pyarrow as pa
import pytest

from aa_ray.data import generated
from aa_ray.data.tasks import get

# A different digest means different sentences: raise embedded.VERSION and update the digest.
DIGEST = (1, "c859c4fd39de665e")


def test_what_is_generated_is_bound_to_the_version() -> None:
    digest = hashlib.sha256()
    for name in generated.TASKS:
        for table in generated.generate(name):
            digest.update(json.dumps(table.to_pydict()).encode())
    assert (generated.VERSION, digest.hexdigest()[:16]) == DIGEST


@pytest.mark.parametrize("name", generated.TASKS)
def test_columns_types_and_sizes(name: str) -> None:
    task = get(name)
    for table, rows in zip(generated.generate(name), (2000, 300), strict=True):
        assert table.column_names == [*task.texts, "label", "idx"]
        assert len(table) == rows
        assert table.schema.field("idx").type == pa.int32()
        assert table.schema.field("label").type == (pa.float32() if task.regression else pa.int64())
        labels = table["label"].to_numpy()
        if task.regression:
            assert labels.min() >= 0 and labels.max() <= 5 and labels.std() > 1
        else:
            shares = np.bincount(labels, minlength=task.classes) / rows
            assert len(shares) == task.classes and shares.min() > 0.2


@pytest.mark.parametrize("name", generated.TASKS)
def test_no_example_is_in_both_splits(name: str) -> None:
    texts = get(name).texts
    train, test = (set(zip(*(t[c].to_pylist() for c in texts), strict=True))
                   for t in generated.generate(name))  # fmt: skip
    assert len(train) == 2000 and len(test) == 300 and not train & test
