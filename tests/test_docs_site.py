"""The documentation site builds without warnings and loads nothing; search works from a file."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import aa_ray
from tests.test_report_browser import CHROMIUM, LAPTOP, PHONE

for package in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(package, reason=f"{package} is not installed")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as started:
        # Chromium has no sandbox as root, for example in a container.
        chromium = started.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=os.geteuid() != 0
        )
        yield chromium
        chromium.close()


def test_every_page_of_the_repository_is_there(site: Path) -> None:
    for page in [*ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md"), ROOT / "RESULTS.md"]:
        assert (site / page.relative_to(ROOT).with_suffix(".html")).is_file()
    assert "architecture-light.svg" in (site / "index.html").read_text("utf-8")


def test_the_api_page_has_every_public_name(site: Path) -> None:
    text = (site / "docs" / "api.html").read_text("utf-8")
    for name in aa_ray.__all__:
        assert f"aa_ray.{name}" in text
    assert "<!-- api -->" not in text and ":::" not in text


@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_pages_fit_and_load_nothing(site: Path, browser: Any, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
    page.on("request", lambda request: problems.append(request.url)
            if request.url.startswith("http") else None)  # fmt: skip
    (site / "404.html").unlink(missing_ok=True)  # for servers: its links start at their root
    for path in sorted(site.rglob("*.html")):
        page.goto(path.as_uri())
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, path.name
        broken = page.evaluate(
            "[...document.images].filter((i) => i.complete && !i.naturalWidth).map((i) => i.src)"
        )
        assert not broken, path.name
    page.close()
    assert not problems


def test_the_search_works_from_a_file(site: Path, browser: Any) -> None:
    page = browser.new_page(viewport={"width": LAPTOP, "height": 800})
    page.goto((site / "docs" / "running.html").as_uri())
    page.click("input.md-search__input")
    page.keyboard.type("fingerprint", delay=50)
    found = page.wait_for_selector(".md-search-result__item a", timeout=60_000)
    assert found.get_attribute("href").startswith("file:")
    page.close()
