"""The page of a report as a browser shows it: without complaints, on a phone, in the dark.

Chromium is that of `make browser`, of the path, or what FASTHOAG_BROWSER names."""

import pytest
from support.browser import browser, find_browser
from support.report_examples import PAGES

pytest.importorskip("matplotlib", reason="pictures need matplotlib")
PROGRAM = find_browser()
pytestmark = pytest.mark.skipif(
    PROGRAM is None, reason="needs Chromium: make browser, or FASTHOAG_BROWSER=/path/to/chrome"
)
PHONE, DESK = 360, 1200

# Every text that is shown, with its contrast (WCAG 2.2, 1.4.3) to the first paper behind it.
TEXTS = """(() => {
  const light = rgb => rgb.map(x => x / 255).map(x => x <= 0.04045 ? x / 12.92 :
    ((x + 0.055) / 1.055) ** 2.4).reduce((s, x, k) => s + x * [0.2126, 0.7152, 0.0722][k], 0);
  const numbers = color => color.match(/[0-9.]+/g).map(Number);
  const paper = e => {
    for (; e; e = e.parentElement) {
      const color = numbers(getComputedStyle(e).backgroundColor);
      if (color.length < 4 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    if (!walk.currentNode.data.trim() || !e.checkVisibility()) continue;
    const ink = e.closest('svg') ? style.fill : style.color;
    const [low, high] = [light(numbers(ink)), light(paper(e))].sort((a, b) => a - b);
    const picture = e.closest('svg');
    const scale = picture ? picture.getBoundingClientRect().width / picture.viewBox.baseVal.width
      : 1;
    found.push({text: walk.currentNode.data, contrast: (high + 0.05) / (low + 0.05),
      size: parseFloat(style.fontSize) * scale});
  }
  return found;
})()"""

# Texts of pictures that reach beyond them, in pixels.
BEYOND = """[...document.querySelectorAll('svg text')].map(e => {
  const a = e.getBoundingClientRect(), b = e.closest('svg').getBoundingClientRect();
  return [e.textContent, Math.max(b.left - a.left, a.right - b.right, b.top - a.top,
    a.bottom - b.bottom)];
}).filter(([text, by]) => by > 2)"""

SIZES = """[...document.querySelectorAll('svg')].map(e => e.getBoundingClientRect())
  .map(e => [e.width, e.height])"""


@pytest.fixture(scope="module")
def shown():
    with browser(PROGRAM) as page:
        yield page


@pytest.fixture(scope="module", params=PAGES)
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "page.html"
    path.write_text(PAGES[request.param](), encoding="utf-8")
    return path


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK], ids=["phone", "desk"])
class TestEveryScreen:
    def test_nothing_is_complained_of_and_nothing_else_asked_for(self, shown, path, width, is_dark):
        shown.open(path, width=width, is_dark=is_dark)
        assert shown.complaints() == []
        assert shown.requests() == [path.as_uri()]

    def test_the_page_is_as_wide_as_the_screen(self, shown, path, width, is_dark):
        shown.open(path, width=width, is_dark=is_dark)
        wide, screen = shown.value(
            "[document.scrollingElement.scrollWidth, document.scrollingElement.clientWidth]"
        )
        assert wide <= screen

    def test_text_is_read_with_ease(self, shown, path, width, is_dark):
        shown.open(path, width=width, is_dark=is_dark)
        texts = shown.value(TEXTS)
        assert len(texts) > 30
        assert [one for one in texts if one["contrast"] < 4.5] == []
        # Powers of ten in the labels of axes have 7 of 10 pixels.
        assert [one for one in texts if one["size"] < 7] == []
        paper = shown.value("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (not is_dark)

    def test_pictures_have_a_size_and_hold_their_labels(self, shown, path, width, is_dark):
        shown.open(path, width=width, is_dark=is_dark)
        sizes = shown.value(SIZES)
        assert len(sizes) == path.read_text(encoding="utf-8").count("<svg")
        assert all(250 < wide <= width and tall > 80 for wide, tall in sizes)
        assert shown.value(BEYOND) == []


def test_the_browser_says_what_is_wrong(shown, tmp_path):
    """The checks above would see it."""
    path = tmp_path / "bad.html"
    path.write_text(
        "<!doctype html><meta name=viewport content='width=device-width'>"
        "<img src=missing.png><script>console.error('no')</script><p style='width:900px;"
        "color:#777;background:#888'>grey</p>"
    )
    shown.open(path, width=PHONE)
    assert len(shown.complaints()) >= 2
    assert len(shown.requests()) == 2
    assert shown.value("document.scrollingElement.scrollWidth") > PHONE
    assert shown.value(TEXTS)[0]["contrast"] < 2
