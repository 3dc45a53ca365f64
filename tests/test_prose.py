"""README, docs and docstrings use the field's vocabulary and plain English."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# RESULTS.md and the changelog keep the wording of their results and releases.
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [path for folder in ("aa_ray", "studies", "docs")
           for path in sorted((ROOT / folder).rglob("*.py"))]  # fmt: skip

# Pattern to avoid -> what to write instead.
VOCABULARY = {
    r"trainings": "training runs",
    r"\b(one|a|each|this|per|the same) training\b(?! (run|set|loop|step|example|data|epoch|script"
    r"|time|and|or|examples|run's|sets|steps|runs|split|text|seconds|curve))": "a training run",
    r"of (one's|your) own\b": "custom, or your own",
    r"\bone's own\b": "custom, or your own",
    r"\b(rows|trials|files|times) (that )?there are\b": "existing rows",
    r"\bbe there none\b": "even if there are none",
    r"\bas many as pay\b": "as many as speed it up",
    r"\btaken for\b": "counts as",
    r"\bof no account\b": "ignored",
    r"\bwithout a word\b": "silently",
    r"\b(parameterisation|hyper-?parametri[sz]ation)\b": "settings",
    r"\bone after the other\b": "one after another, in turn, or concatenated",
    r"\bso many (?!as\b|that\b)": "this many, or name the parameter",
    r"\banew\b": "again",
    r"\bof like (length|size)\b": "of similar length",
    r"\bif need be\b": "if necessary",
    r"\bfor ever\b": "forever",
    r"\bsays? nothing of\b": "says nothing about",
    r"\b(what|whatever) there is\b": "existing rows, or what exists",
    r"\bnobody knows\b": "this is not known",
    r"\ball the same\b": "still",
    r"\bof no use\b": "useless",
    r"\bat hand\b": "available",
    r"\btake note\b": "record",
    r"\brows? of before\b": "rows before",
    r"\bbut for (the|those|its|all|one)\b": "except",
    r"\b(thereof|whereof|wherein|therein)\b": "of it, in it",
    r"\bdo(es)? not load\b": "cannot be loaded",
}  # fmt: skip
# Exceptions for existing docstrings; new ones get none. Remove a line once its file is fixed.
OLD: dict[str, tuple[str, ...]] = {}


def blank(text: str, pattern: str) -> str:
    """Replace matches of the pattern with spaces, so that positions stay the same."""
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S | re.M)


def prose(page: Path) -> str:
    """Return a page's text without code, link targets, comments and tags."""
    text = page.read_text("utf-8")
    for pattern in (r"^```.*?^```", r"^    .*?$", r"`[^`\n]*`", r"\]\([^)]*\)", r"<[^>]*>"):
        text = blank(text, pattern)
    return text


def docstrings(module: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each docstring, without names in backquotes."""
    for node in ast.walk(ast.parse(module.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                value = first.value.value
                if isinstance(value, str):
                    yield first.lineno, blank(value, r"``[^`]*``")


def complaints(text: str) -> list[tuple[int, str, str]]:
    """Return the line (from 0), the words, and what to write instead."""
    flat = text.replace("\n", " ")
    return [
        (text.count("\n", 0, match.start()), match[0], better)
        for pattern, better in VOCABULARY.items()
        for match in re.finditer(pattern, flat, re.I)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_page_uses_the_vocabulary(page: Path) -> None:
    found = [
        f"{page.name}:{line + 1}: {words!r}; write: {better}"
        for line, words, better in complaints(prose(page))
    ]
    assert not found, "\n".join(found)


def test_docstrings_use_the_vocabulary() -> None:
    found = [
        f"{module.relative_to(ROOT)}:{start + line}: {words!r}; write: {better}"
        for module in MODULES
        for start, text in docstrings(module)
        for line, words, better in complaints(text)
        if words not in OLD.get(module.relative_to(ROOT).as_posix(), ())
    ]
    assert not found, "\n".join(found)


def test_no_entry_of_a_docstring_begins_with_of() -> None:
    """In an entry such as ``name: of the file`` the reader has to find the noun."""
    found = [
        f"{module.relative_to(ROOT)}:{start + text.count(chr(10), 0, match.start())}: {match[0]!r}"
        for module in MODULES
        for start, text in docstrings(module)
        for match in re.finditer(r"^ {4,}\w[\w, ]*: of (the|its|a|an|each|all|those)\b", text, re.M)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("word", ["of", "what", "whatever"])
def test_no_help_text_begins_with(word: str) -> None:
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in (ROOT / "aa_ray" / "commands").glob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if re.search(rf'\bhelp=f?"{word} ', line, re.I)
    ]
    assert not found, "\n".join(found)


def test_the_vocabulary_finds_what_it_should() -> None:
    text = "617 Trainings.\nOne training per file; one training\nrun; the rows there are."
    assert [(line, words) for line, words, _ in complaints(text)] == [
        (0, "Trainings"), (1, "One training"), (2, "rows there are"),
    ]  # fmt: skip


def proselint(text: str) -> list[tuple[int, str]]:
    """Return line and message of proselint's findings on wording.

    Typography is left out, because the sources use plain quotes and dots.
    """
    pytest.importorskip("proselint", reason="proselint is not installed")
    from proselint.checks import __register__
    from proselint.config import DEFAULT
    from proselint.registry import CheckRegistry
    from proselint.tools import LintFile

    registry = CheckRegistry()
    if not registry.checks:
        registry.register_many(__register__)
    checks = {**DEFAULT["checks"], "typography": False}
    results = LintFile("page", content=text).lint({**DEFAULT, "checks": checks})
    return [(result.pos[0], result.check_result.message) for result in results]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_proselint_has_nothing_to_say(page: Path) -> None:
    text = blank(prose(page), r"^(\||#).*?$")
    found = [f"{page.name}:{line}: {message}" for line, message in proselint(text)]
    assert not found, "\n".join(found)


def test_proselint_finds_something() -> None:
    found = proselint("A sentence.\nThis one is very unique.\n")
    assert found and {line for line, _ in found} == {2}
