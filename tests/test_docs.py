"""README and docs/ are short, and their commands, links, anchors and pictures are right."""

import ast
import re
import runpy
import shlex
import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import aa_ray

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
OTHERS = ["RESULTS.md", "CHANGELOG.md", "CONTRIBUTING.md", "tests/reference/README.md"]
DOCUMENTS = [
    *PAGES,
    *sorted((ROOT / "docs" / "results").rglob("*.md")),
    *(ROOT / path for path in OTHERS),
    *sorted(ROOT.glob("benchmarks/*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
DRAWING = ROOT / "docs" / "draw_architecture.py"


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def commands() -> Iterator[Any]:
    """Yield each distinct command of this package that the pages show."""
    seen = set()
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text("utf-8")):
            if language not in ("", "bash"):
                continue
            for line in re.sub(r"\\\n", " ", block).splitlines():
                found = re.search(r"(python (studies/\w+\.py|-m aa_ray)|^aa-ray)\b.*", line)
                if found and found[0] not in seen:
                    seen.add(found[0])
                    yield pytest.param(found[0], id=f"{name(page)}: {found[0][:60]}")


class Parsed(BaseException):
    """Raised instead of running a command that has been parsed."""


@pytest.mark.parametrize("command", list(commands()))
def test_a_command_has_options_that_exist(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = command.replace("$AA_RAY_BUCKET", "s3://bucket").rstrip("'")
    words = shlex.split(text.replace("FOLDER", "folder"), comments=True)
    words = ["-m", "aa_ray", *words[1:]] if words[0] == "aa-ray" else words[1:]
    parse = ArgumentParser.parse_args

    def parse_only(*arguments: Any, **options: Any) -> None:
        parse(*arguments, **options)
        raise Parsed

    monkeypatch.setattr(ArgumentParser, "parse_args", parse_only)
    monkeypatch.chdir(ROOT)
    script = words[0] if words[0] != "-m" else "aa_ray"
    monkeypatch.setattr(sys, "argv", words if script == words[0] else [script, *words[2:]])
    run = runpy.run_path if script == words[0] else runpy.run_module
    monkeypatch.delitem(sys.modules, "aa_ray.__main__", raising=False)  # runpy would warn about it
    with pytest.raises(Parsed):
        run(script, run_name="__main__")
    assert not capsys.readouterr().err


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_is_short(page: Path) -> None:
    limit = 130 if page == README else 150
    assert len(page.read_text("utf-8").splitlines()) <= limit


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_that_answers_a_question_starts_with_the_command(page: Path) -> None:
    title, _, first, *_ = page.read_text("utf-8").splitlines()
    assert title.startswith("# ")
    if title.endswith("?"):
        assert first.startswith("```")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    """Linked files exist, and headings have the anchors that links name."""
    text = FENCE.sub("", document.read_text("utf-8"))
    for groups in LINK.findall(text):
        link = groups[0] or groups[1]
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{name(document)}: {link}"
        assert target.is_relative_to(ROOT)
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{name(document)}: {link}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    text = FENCE.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\s-]", "", heading).strip().replace(" ", "-") for heading in plain}


def test_an_anchor_is_what_github_makes_of_a_heading(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# What's `new`?\n\n```\n# no heading\n```\n## [A, b](c.md): 2 of 3\n")
    assert anchors(page) == {"whats-new", "a-b-2-of-3"}


def test_the_readme_lists_every_study() -> None:
    listed = re.findall(r"^\| `(\w+\.py)` \|", README.read_text("utf-8"), re.M)
    assert sorted(listed) == sorted(path.name for path in (ROOT / "studies").glob("*.py"))


def test_the_readme_leads_to_every_page() -> None:
    text = README.read_text("utf-8") + (ROOT / "RESULTS.md").read_text("utf-8")
    for page in PAGES[1:]:
        assert f"docs/{page.name}" in text or f"({page.name})" in text


def test_python_in_the_pages_uses_names_that_exist() -> None:
    for page in PAGES:
        for language, block in FENCE.findall(page.read_text("utf-8")):
            if language != "python":
                continue
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module == "aa_ray":
                    assert {alias.name for alias in node.names} <= set(aa_ray.__all__)
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    assert node.value.id != "aa_ray" or node.attr in aa_ray.__all__


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_picture_is_what_its_script_draws(theme: str, tmp_path: Path) -> None:
    """The elements have the same text and colours, and their places agree to half a point."""
    draw = runpy.run_path(str(DRAWING))["draw"]
    draw(theme, tmp_path / "new.svg")
    new, committed = (
        list(ElementTree.parse(path).getroot().iter())
        for path in (tmp_path / "new.svg", DRAWING.with_name(f"architecture-{theme}.svg"))
    )
    assert len(new) == len(committed) > 100
    for drawn, kept in zip(new, committed, strict=True):
        assert (drawn.tag, drawn.get("style")) == (kept.tag, kept.get("style"))
        for attribute in ("d", "x", "y", "transform"):
            numbers = [
                [float(number) for number in re.findall(r"-?\d+\.?\d*", element.get(attribute, ""))]
                for element in (drawn, kept)
            ]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.5)


def test_the_two_pictures_differ_in_colour_alone() -> None:
    light, dark = (
        DRAWING.with_name(f"architecture-{theme}.svg").read_text("utf-8")
        for theme in ("light", "dark")
    )
    assert light != dark

    def shapes(text: str) -> list[str]:
        return re.findall(r' d="([^"]*)"', text)

    assert shapes(light) == shapes(dark)
