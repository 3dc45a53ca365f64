"""CITATION.cff has what tools rely on and agrees with the package."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parent.parent

_TEXT = {"type": "string", "minLength": 1}
_PERSON = {"required": ["family-names", "given-names"], "additionalProperties": False,
           "properties": {"family-names": _TEXT, "given-names": _TEXT}}  # fmt: skip
_ENTITY = {"required": ["name"], "additionalProperties": False, "properties": {"name": _TEXT}}
_AUTHORS = {
    "type": "array",
    "minItems": 1,
    "items": {"type": "object", "anyOf": [_PERSON, _ENTITY]},
}
# The keys used here, as defined by the Citation File Format 1.2.0, which refuses others too.
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["cff-version", "message", "title", "authors"],
    "additionalProperties": False,
    "properties": {
        "cff-version": {"const": "1.2.0"},
        "message": {"type": "string", "minLength": 1},
        "title": {"type": "string", "minLength": 1},
        "abstract": {"type": "string"},
        "type": {"enum": ["software", "dataset"]},
        "version": {"type": "string"},
        "license": {"const": "Apache-2.0"},
        "authors": _AUTHORS,
        "keywords": {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        "references": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["type", "title", "authors"],
                "additionalProperties": False,
                "properties": {
                    "type": {"const": "conference-paper"},
                    "title": {"type": "string"},
                    "authors": _AUTHORS,
                    "collection-title": {"type": "string"},
                    "conference": _ENTITY,
                    "year": {"type": "integer"},
                    "start": {"type": "integer"},
                    "end": {"type": "integer"},
                    "url": {"type": "string", "pattern": "^https://"},
                },
            },
        },
    },
}


@pytest.fixture
def citation() -> Any:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def test_the_file_is_in_the_citation_file_format(citation: Any) -> None:
    jsonschema.validate(citation, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(citation | {"authors": [{"given-names": "A"}]}, SCHEMA)


def test_it_says_what_the_package_says(citation: Any) -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    assert citation["title"] == "aa-ray" and 'name = "aa-ray"' in project
    assert f'license = "{citation["license"]}"' in project


def test_the_paper_is_cited(citation: Any) -> None:
    [paper] = citation["references"]
    names = [author["family-names"] for author in paper["authors"]]
    assert names == ["Moosavi", "Delfosse", "Kersting", "Gurevych"]
    assert paper["url"] in (ROOT / "README.md").read_text("utf-8")
