"""The report's page in a real browser: `make page` runs this where a Chromium is installed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from spec_conformance.report.html import html
from tests.conformance.test_reports import made_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")
READABLE: Final = 4.5
"""Contrast of text, as WCAG 2.1 has it for level AA."""
CONTRASTS: Final = """() => {
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = channels(colour).slice(0, 3).map(c => {
      c /= 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      const parts = channels(colour);
      if (parts.length < 4 || parts[3] > 0) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!text || !element.checkVisibility()) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(style.color), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([element.textContent.trim().slice(0, 40), contrast, parseFloat(style.fontSize)]);
  }
  return found;
}"""
"""Of every text that can be seen: its beginning, its contrast, the size of its letters in pixels."""
FOCUS: Final = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const style = getComputedStyle(e);
  return [[...document.querySelectorAll('*')].indexOf(e), style.outlineStyle !== 'none' || style.boxShadow !== 'none'];
}"""
"""Where the keyboard is, and whether one can see that."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert program is not None, f"none of {', '.join(BROWSERS)} is installed"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(html(made_report()), encoding="utf-8")
    return path


def opened(browser: Browser, file: Path, width: int = 1280, scheme: str = "light") -> Page:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if scheme == "dark" else "light", offline=True
    )
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(file.as_uri())
    assert asked == [file.as_uri()], "the page needs something else"
    assert complaints == []
    return page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_readable(browser: Browser, file: Path, width: int, scheme: str) -> None:
    """Nothing is wider than the window, letters are large enough, and stand out from what is behind them."""
    page = opened(browser, file, width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    texts = page.evaluate(CONTRASTS)
    assert len(texts) > 100
    assert [text for text in texts if text[1] < READABLE] == []
    assert [text for text in texts if text[2] < 11] == []
    assert page.title()
    grounds = page.evaluate("[document.documentElement, document.body].map(e => getComputedStyle(e).backgroundColor)")
    assert any(ground != "rgba(0, 0, 0, 0)" for ground in grounds)


def test_dark_is_not_light(browser: Browser, file: Path) -> None:
    colours = {
        scheme: opened(browser, file, scheme=scheme).evaluate("getComputedStyle(document.body).color")
        for scheme in ("light", "dark")
    }
    assert colours["light"] != colours["dark"]


def test_keyboard(browser: Browser, file: Path) -> None:
    """Tab reaches everything that can be used, visibly; the space bar opens a case and hides a verdict."""
    page = opened(browser, file)
    usable = page.evaluate(
        "[...document.querySelectorAll('a[href], input, summary')].filter(e => e.checkVisibility()).length"
    )
    reached = set()
    for _ in range(usable + 1):
        page.keyboard.press("Tab")
        where = page.evaluate(FOCUS)
        if where is not None:
            place, visible = where
            assert visible, "one cannot see where the keyboard is"
            reached.add(place)
    assert len(reached) >= usable
    summary = page.locator("summary").first
    summary.focus()
    before = page.evaluate("document.querySelector('details').open")
    page.keyboard.press("Space")
    assert page.evaluate("document.querySelector('details').open") is not before
    box = page.locator("input[type=checkbox]").first
    box.focus()
    seen = "[...document.querySelectorAll('details')].filter(e => e.checkVisibility()).length"
    shown = page.evaluate(seen)
    page.keyboard.press("Space")
    assert page.evaluate(seen) < shown, "a verdict that is not wanted is still shown"
