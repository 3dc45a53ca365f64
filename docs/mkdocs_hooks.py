"""mkdocs' hook: each page of the site has the same path as in the repository.

So one relative link works both on the site and in the repository. The hook adds what lies outside
``docs/`` (README, RESULTS, benchmarks). A source file that a page links to becomes a page too, and
so does each notebook. ``docs/api.md`` gets the public names of ``aa_ray``.
"""

import ast
import posixpath
import re
from pathlib import Path

import notebook_page  # beside this file, where mkdocs looks for what a hook imports
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "RESULTS.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/*.md",
         "docs/*.md", "docs/results/**/*.md", "tests/reference/README.md")  # fmt: skip
ASSETS = ("docs/*.png", "docs/results/**/*.png", "docs/*.svg", "docs/*.css", "docs/*.js")
SOURCE = ("py", "yaml", "yml", "sh", "cff")
# In or out of the repository; an image's link counts too.
LINK = re.compile(r"(\]\()([^)#\s:]+)((?:#[^)\s]*)?\))")
# Folder of aa_ray -> heading on the page of the API, in that order; the rest comes last.
HEADINGS = {
    "core": "Adapters and architectures",
    "study": "Trials, and custom tasks and activations",
    "trial": "Trials, and custom tasks and activations",
    "training": "Training",
    "store": "Rows",
}
MODULES = "Modules"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the benchmarks, and leave out pages that this checkout does not have."""
    assert isinstance(config.nav, list)
    for section in config.nav:
        [(title, entries)] = section.items()
        if title == "Benchmarks":
            paths = sorted((ROOT / "benchmarks").glob("*.md"))
            section[title] = [path.relative_to(ROOT).as_posix() for path in paths]
        elif isinstance(entries, list):
            section[title] = [entry for entry in entries if all(map(_exists, entry.values()))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages, pictures and linked source files at their paths in the repository."""
    added = Files([])
    pages = {path for pattern in PAGES for path in ROOT.glob(pattern)}
    assets = {path for pattern in ASSETS for path in ROOT.glob(pattern)}
    for path in sorted(pages | assets):
        added.append(_copy(path, config))
    for path in sorted(ROOT.glob("docs/*.ipynb")):
        markdown, pictures = notebook_page.page(path)
        name = path.relative_to(ROOT)
        added.append(File.generated(config, name.with_suffix(".md").as_posix(), content=markdown))
        for picture, content in pictures.items():
            added.append(
                File.generated(config, name.with_name(picture).as_posix(), content=content)
            )
    for path in sorted({target for page in pages for target in _linked(page)}):
        added.append(_source_page(path, config))
    for file in files:  # the files of plugins and of the theme
        if file.src_dir != config.docs_dir:
            added.append(file)
    return added


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Let links to source files lead to their pages, and add the names to the API page."""
    folder = posixpath.dirname(page.file.src_uri)

    def page_of_source(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        path = ROOT / folder / target
        if path.suffix == ".ipynb":
            return f"{before}{target.removesuffix('.ipynb')}.md{after}"
        return f"{before}{target}.md{after}" if _is_source(path) else match[0]

    markdown = LINK.sub(page_of_source, markdown)
    if page.file.src_uri == "docs/api.md":
        sentence = r"On the documentation site.*?`help` in Python:\n\n```python.*?```\n"
        markdown = re.sub(sentence, "", markdown, flags=re.S)
        markdown = markdown.replace("<!-- api -->", public_names())
    return markdown


def public_names() -> str:
    """Markdown with every name of ``aa_ray.__all__``, under the heading of its folder."""
    tree = ast.parse((ROOT / "aa_ray/__init__.py").read_text("utf-8"))
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    sections: dict[str, list[str]] = {heading: [] for heading in [*HEADINGS.values(), MODULES]}
    for name in values["__all__"]:
        place = values["_PLACES"][name]
        heading = HEADINGS.get(place.split(".")[0], MODULES)
        target = f"aa_ray.{place}.{name}" if place else f"aa_ray.{name}"
        options = [f"heading: aa_ray.{name}", f"toc_label: {name}"]
        options += ["members: false"] * (not place)  # its names have separate entries
        lines = [f"::: {target}", "    options:", *(f"      {option}" for option in options)]
        sections[heading].append("\n".join(lines) + "\n")
    return "\n".join(
        f"## {heading}\n\n" + "\n".join(names) for heading, names in sections.items() if names
    )


def _exists(page: str) -> bool:
    """Whether the checkout has the page, or the notebook that becomes it."""
    return (ROOT / page).exists() or (ROOT / page).with_suffix(".ipynb").exists()


def _copy(path: Path, config: MkDocsConfig) -> File:
    return File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))


def _source_page(path: Path, config: MkDocsConfig) -> File:
    """A page that shows the file, without an entry in the navigation or the search."""
    name = path.relative_to(ROOT).as_posix()
    language = {"yml": "yaml", "cff": "yaml", "sh": "bash"}.get(path.suffix[1:], path.suffix[1:])
    text = path.read_text("utf-8")
    fence = "~~~~~~"
    content = (
        f"---\nsearch: {{exclude: true}}\nhide: [toc]\n---\n\n# `{name}`\n\n"
        f"{fence}{language}\n{text.rstrip()}\n{fence}\n"
    )
    return File.generated(config, f"{name}.md", content=content)


def _linked(page: Path) -> set[Path]:
    """Source files that a page links to."""
    targets = {match[2] for match in LINK.finditer(page.read_text("utf-8"))}
    paths = {Path(posixpath.normpath(str(page.parent / target))) for target in targets}
    return {path for path in paths if _is_source(path)}


def _is_source(path: Path) -> bool:
    return path.is_file() and (path.suffix[1:] in SOURCE or path.name in ("Dockerfile", "LICENSE"))
