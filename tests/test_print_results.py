"""docs/print_results.py prints the tables again and keeps what people wrote."""

import runpy
from pathlib import Path
from typing import Any

import pytest

COMMAND = "    python studies/claims.py --results reproduction/x"
PAGE = f"""# Claims

{COMMAND}

The rules are those of today.

Claims, as they were.
More of the caption.

|  | effect |
|---|---:|
| C1 | 1.0 |

A remark.

![figure](x.png)

## Next

{COMMAND} --rates tuned
"""


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parent.parent / "docs" / "print_results.py"))


def test_the_table_is_replaced_and_prose_stays(script: dict[str, Any]) -> None:
    table = ["Claims, as they are.", "", "|  | effect |", "|---|---:|", "| C1 | 2.0 |"]
    renewed = script["renewed"]
    renewed.__globals__["printed"] = lambda command: table
    found = "\n".join(renewed(PAGE.splitlines()))
    assert "as they were" not in found and "| C1 | 1.0 |" not in found
    for line in ("The rules are those of today.", "A remark.", "![figure](x.png)", "## Next"):
        assert line in found.splitlines()
    assert found.count("Claims, as they are.") == 2  # the second command had no table yet
    assert "\n".join(renewed(found.splitlines())) == found
