"""The page: whole in itself, harmless, and at work in a browser."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome")

#: clicks, and writes what there is to see into the page
PROBE = """
<pre id="probe"></pre>
<script>
addEventListener("load", () => {
  const table = document.querySelector("#table-results");
  const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].textContent);
  const heads = [...table.tHead.rows[0].cells];
  const found = { images: [...document.images].map((i) => i.naturalWidth), before: column(2), title: document.title };
  const accuracy = heads[3].querySelector("button");
  accuracy.click(); found.up = column(3); found.up_sort = heads[3].getAttribute("aria-sort");
  accuracy.click(); found.down = column(3); found.down_sort = heads[3].getAttribute("aria-sort");
  heads[1].querySelector("button").click(); found.ratios = column(1); found.stable = column(0);
  found.sorts = heads.map((head) => head.getAttribute("aria-sort"));
  found.errors = [...document.querySelectorAll("#table-runs tr")].map((row) => row.lastElementChild.textContent);
  const runs = [...document.querySelectorAll("#table-runs th")];
  runs.at(-1).querySelector("button").click();
  found.last = document.querySelector("#table-runs tbody tr").lastElementChild.textContent;
  found.width = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  document.querySelector("#probe").textContent = JSON.stringify(found);
});
</script>
"""


class Parts(HTMLParser):
    """All tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory):
    """What the browser of a phone's width shows, and its complaints."""
    folder = tmp_path_factory.mktemp("browser")
    copy = folder / "page.html"
    copy.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,844", "--virtual-time-budget=5000",
        "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}", "--dump-dom", copy.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    [found] = re.findall(r'<pre id="probe">(.*?)</pre>', done.stdout)
    found = json.loads(found.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    return found | {"console": [line for line in done.stderr.splitlines() if "CONSOLE" in line]}


def test_nothing_is_loaded_from_outside(page):
    text = page.read_text(encoding="utf-8")
    tags = Parts(text).tags
    sources = [value for _, attrs in tags for name, value in attrs.items() if name in ("src", "srcset", "data")]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not {tag for tag, _ in tags} & {"link", "iframe", "object", "embed", "base"}
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert not re.search(r"url\(|@import", style)
    assert "http" not in re.sub(r"http-equiv", "", text.partition("<body>")[0])
    hrefs = [attrs["href"] for tag, attrs in tags if tag == "a"]
    assert all(not href.startswith(("http", "//")) for href in hrefs)


def test_anchors_lead_somewhere(page):
    tags = Parts(page.read_text(encoding="utf-8")).tags
    ids = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    anchors = {attrs["href"][1:] for tag, attrs in tags if tag == "a" and attrs["href"].startswith("#")}
    assert anchors >= {
        "results",
        "differences",
        "accuracy",
        "memory",
        "masks",
        "cells-found",
        "learning-curves",
        "runs",
    }
    assert anchors <= set(ids)


def test_links_lead_to_the_runs(page):
    tags = Parts(page.read_text(encoding="utf-8")).tags
    links = [attrs["href"] for tag, attrs in tags if tag == "a" and not attrs["href"].startswith("#")]
    assert len([link for link in links if link.endswith("/")]) == 22  # 20 folders, two of them in two tables
    assert all((page.parent / link).exists() for link in links)


def test_every_figure_has_a_caption_and_words_for_those_who_do_not_see_it(page):
    text = page.read_text(encoding="utf-8")
    images = [attrs for tag, attrs in Parts(text).tags if tag == "img"]
    assert len(images) == text.count("<figcaption") == text.count("<figure id")
    assert all(len(image["alt"]) > 20 for image in images)


def test_errors_are_text(page):
    text = page.read_text(encoding="utf-8")
    assert "<script>document.title" not in text
    assert "&lt;script&gt;document.title" in text


def test_the_top_says_what_it_is(page, sweep):
    text = page.read_text(encoding="utf-8")
    assert "18 done of 21" in text
    assert "Of 21 runs: 1 failed, 1 unfinished" in text
    assert f"python -m halfnas.reporting {sweep} --out {page.parent}" in text
    assert "halfnas 0." in text
    assert text.index('id="not-done"') < text.index('id="results"')
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text.partition("<script>\n")[0]).lower()


@needs_browser
def test_the_browser_has_no_complaint(seen):
    assert seen["console"] == []
    assert seen["title"].startswith("halfnas report")
    assert any("<script>" in error for error in seen["errors"])


@needs_browser
def test_all_images_are_there(seen):
    assert len(seen["images"]) > 10
    assert min(seen["images"]) > 100


@needs_browser
def test_tables_are_sorted_by_number(seen):
    values = [float(text.split()[0]) for text in seen["up"]]
    assert values == sorted(values)
    assert values[0] == 91.35
    assert seen["down"] == seen["up"][::-1]
    assert (seen["up_sort"], seen["down_sort"]) == ("ascending", "descending")


@needs_browser
def test_sorting_is_stable(seen):
    """By ratio after by accuracy downwards: `random` is the better one at every ratio."""
    assert seen["ratios"] == ["0.25", "0.25", "0.5", "0.5", "1.0", "1.0"]
    assert seen["stable"] == ["random", "nngp"] * 3
    assert [sort for sort in seen["sorts"] if sort != "none"] == ["ascending"]


@needs_browser
def test_what_is_absent_comes_last(seen):
    assert "<script>" in seen["last"]  # the only run with an error


@needs_browser
def test_a_phone_need_not_scroll_sideways(seen):
    assert seen["width"] == 0
