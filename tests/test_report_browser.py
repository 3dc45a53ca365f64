"""The report in a real browser: it requests nothing, raises no errors, and fits every screen."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aa_ray.report import page
from aa_ray.report.beside import Beside
from tests.report.test_contrasts import study as contrast_study
from tests.report.test_page import OPTIONS, make_results
from tests.report.test_step_size import results as ladder_results
from tests.report.test_step_size import step_size_explains

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)

PHONE, LAPTOP = 390, 1280


class Seen(NamedTuple):
    """What visiting a page showed: outside requests, console errors, and overflow in pixels."""

    requests: list[str]
    errors: list[str]
    overflow: int


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        # Chromium has no sandbox as root, for example in a container.
        found = started.chromium.launch(
            executable_path=CHROMIUM, chromium_sandbox=os.geteuid() != 0
        )
        yield found
        found.close()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page.page(make_results(), OPTIONS), "utf-8")
    return path


def visit(browser: Any, path: Path, scheme: str = "light", width: int = LAPTOP) -> tuple[Any, Seen]:
    """Open the file and all its collapsible parts."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    page.wait_for_timeout(200)  # opened parts are drawn in an event
    overflow = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    outside = [u for u in requests if u != path.as_uri() and not u.startswith("data:")]
    return page, Seen(outside, errors, overflow)


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("light", PHONE), ("dark", PHONE), ("light", 768), ("light", 1000), ("dark", LAPTOP)],
)
def test_no_request_no_error_no_sideways_scroll(
    browser: Any, path: Path, scheme: str, width: int
) -> None:
    page, seen = visit(browser, path, scheme, width)
    assert seen == Seen([], [], 0)
    page.close()


def test_the_visit_notices_what_it_should(browser: Any, path: Path, tmp_path: Path) -> None:
    text = path.read_text("utf-8").replace("img-src data:", "img-src data: http:")
    # Port 9 of this machine: nothing answers, and no packet leaves the machine.
    text = text.replace(
        "<main>", '<main><img src="http://127.0.0.1:9/x.png"><hr style="width: 5000px">'
    )
    broken = tmp_path / "broken.html"
    broken.write_text(text, "utf-8")
    page, seen = visit(browser, broken)
    assert seen.requests == ["http://127.0.0.1:9/x.png"] and seen.errors and seen.overflow > 3000
    page.close()


def test_the_policy_stops_foreign_scripts_and_pictures(
    browser: Any, path: Path, tmp_path: Path
) -> None:
    foreign = '<main><script>document.title = "taken"</script><img src="http://127.0.0.1:9/x.png">'
    broken = tmp_path / "injected.html"
    broken.write_text(path.read_text("utf-8").replace("<main>", foreign), "utf-8")
    page, seen = visit(browser, broken)
    assert page.title().startswith("Adaptable Adapters")
    assert len(seen.errors) == 2 and all("Content Security Policy" in e for e in seen.errors)
    page.close()


def test_curves_are_drawn_when_a_task_is_opened(browser: Any, path: Path) -> None:
    page = browser.new_page()
    page.goto(path.as_uri())
    group = page.locator("details.group[data-key=cola-100]")
    assert group.locator("svg").count() == 0
    group.locator("summary").click()
    group.locator("svg").first.wait_for()
    titles = group.locator("h3").all_inner_texts()
    assert titles[0] == "Baseline" and len(titles) == group.locator("svg").count() == 9
    assert group.locator("svg").first.locator("polyline").count() == 4  # two seeds, two panels
    assert group.locator("svg").first.locator("circle").count() == 2  # the best epochs
    page.close()


def luminance(colour: str) -> float:
    """Return the relative luminance (WCAG) of "rgb(r, g, b)"."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(browser: Any, path: Path, scheme: str) -> None:
    page, _ = visit(browser, path, scheme)
    ground = luminance(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert (ground < 0.05) == (scheme == "dark")
    # Text, small print, links, verdicts, and text in figures have the contrast of WCAG AA.
    for place, what in (("main p", "color"), (".soft", "color"), ("nav a", "color"),
                        (".verdict.yes", "color"), ("figure svg text", "fill"),
                        (".charts text", "fill")):  # fmt: skip
        found = page.evaluate(
            "([p, w]) => getComputedStyle(document.querySelector(p))[w]", [place, what]
        )
        light, dark = sorted((luminance(found), ground), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (place, found)
    page.close()


def test_it_prints(browser: Any, path: Path) -> None:
    page, _ = visit(browser, path, "dark")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not page.locator("nav").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()


@pytest.fixture(scope="module")
def full_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the report with all kinds of sections: other studies, and a comparison."""
    results = make_results()
    policies = {"released": contrast_study(), "0.003": contrast_study(noise=0.003)}
    beside = Beside(policies, ladder_results(step_size_explains), None, ("OTHER", make_results()))
    path = tmp_path_factory.mktemp("full") / "report.html"
    path.write_text(page.page(results, OPTIONS, beside), "utf-8")
    return path


@pytest.mark.parametrize(("scheme", "width"), [("light", LAPTOP), ("dark", PHONE)])
def test_axe_finds_no_fault(browser: Any, full_path: Path, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page, _ = visit(browser, full_path, scheme, width)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


def test_axe_notices_a_fault(browser: Any, full_path: Path, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    broken = tmp_path / "broken.html"
    text = full_path.read_text("utf-8").replace('<html lang="en">', "<html>")
    broken.write_text(text.replace("--soft: #5b6470", "--soft: #c8ccd0"), "utf-8")
    page, _ = visit(browser, broken)
    found = {violation["id"] for violation in axe.Axe().run(page).response["violations"]}
    assert {"html-has-lang", "color-contrast"} <= found
    page.close()


def test_every_summary_is_reached_by_the_keyboard(browser: Any, path: Path) -> None:
    page = browser.new_page()
    page.goto(path.as_uri())
    group = page.locator("details.group[data-key=cola-100]")
    group.locator("summary").focus()
    page.keyboard.press("Enter")
    group.locator("svg").first.wait_for()
    page.keyboard.press("Tab")
    inside = "document.activeElement.closest('details.group') !== null"
    assert page.evaluate(inside)  # the keyboard scrolls the table inside
    page.close()
