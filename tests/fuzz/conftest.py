"""The number of fuzz examples: small by default, larger if ``FUZZ`` sets it."""

import os
import resource
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FUZZ", "40"))

# Bytes that a test of this folder may add to the process's memory.
MOST_MEMORY = 600_000_000

settings.register_profile(
    "fuzz",
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    """Check that no file makes the reader use unlimited memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert grown < MOST_MEMORY
