"""The report in a real browser: no console errors, plots drawn, tables sorted, nothing wider than a phone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

from medseg.bench.measure.recorded import unmeasured_record
from medseg.bench.merge import merged
from medseg.bench.show.history import write_history
from medseg.bench.show.report import with_comparison, write_report
from tests.bench.test_report import record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """
<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const columns = [...document.querySelectorAll("table.sortable")].flatMap((table) =>
    [...table.querySelectorAll("thead button")].map((button, column) => {
      const cells = () => [...table.tBodies[0].rows].map((row) => row.cells[column])
        .map((cell) => [cell.textContent.trim(), cell.dataset.value ?? null]);
      button.click(); const ascending = cells(); button.click();
      return { name: button.textContent, ascending, descending: cells() };
    }));
  const plots = [...document.querySelectorAll("figure svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    return { width: box.width, height: box.height, marks: svg.querySelectorAll("path, use").length,
             ink: getComputedStyle(svg.querySelector("text")).fill, name: svg.getAttribute("aria-label") };
  });
  const images = [...document.images].map((image) => image.naturalWidth * image.alt.length);
  const result = { errors, columns, plots, images, wide: document.documentElement.scrollWidth,
                   seen: innerWidth, paper: getComputedStyle(document.body).backgroundColor };
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(result);
});
</script>
"""

PHONE = 390
RULER = """
<script>
const frame = document.querySelector("iframe");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, red = "rgb(179, 38, 30)";
  const boxes = [...page.querySelectorAll(".box")];
  const result = { wide: page.documentElement.scrollWidth, tables: page.querySelectorAll("table").length,
                   red: boxes.filter((one) => getComputedStyle(one).borderLeftColor === red).length };
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(result);
});
</script>
"""

_NUMBER = re.compile(r"[-+]?\d[\d.]*( |%|/s|$)")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    made = record()
    first, second = made["targets"]
    first["serial"]["summary"]["p50_s"], second["serial"]["summary"]["p50_s"] = 1.2, 0.0123
    made["targets"].append(unmeasured_record("closed", {}, "could not be opened") | {"paired": {}})
    return write_report(folder, with_comparison(made, made, {"p50": 0.1, "score": -0.001}))


def seen(page: Path, width: int, *flags: str) -> dict:
    """What the browser makes of the page at this width in CSS pixels."""
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("<head>", "<head>" + PROBE, 1))
    return told(probed, width, *flags)


def told(page: Path, width: int, *flags: str) -> dict:
    """What a page writes of itself into its element `found`, in a browser of this width."""
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"--window-size={width},900",
    ]
    done = subprocess.run([*command, *flags, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    text = done.stdout.split('<pre id="found">')[1].split("</pre>")[0]
    return json.loads(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@needs_chromium
def test_the_page_loads_without_errors_draws_its_plots_and_sorts(page: Path):
    found = seen(page, 1200)
    assert found["errors"] == []
    assert len(found["plots"]) == 4
    for plot in found["plots"]:
        assert plot["width"] > 300 and plot["height"] > 150 and plot["marks"] > 10 and plot["name"]
    assert len(found["images"]) == 4 and all(found["images"])


@needs_chromium
def test_every_column_of_every_table_sorts_by_what_its_cells_mean(page: Path):
    columns = seen(page, 1200)["columns"]
    assert len({column["name"] for column in columns}) > 20
    for column in columns:
        keys = [key for _, key in column["ascending"]]
        if any(_NUMBER.match(text) for text, _ in column["ascending"]):
            assert None not in keys, column  # a number in words, such as 12 ms, says what it is worth
        if None not in keys:
            numbers = [float(key) for key in keys if key]
            assert numbers == sorted(numbers) and keys[len(numbers) :] == [""] * (len(keys) - len(numbers)), column
            assert [float(key) for _, key in column["descending"] if key] == numbers[::-1]
    (p50,) = [column for column in columns if column["name"] == "p50"][:1]
    assert [text for text, _ in p50["ascending"]] == ["12.3 ms", "1.20 s", "-"]


@needs_chromium
def test_dark_mode_changes_paper_and_plots(page: Path):
    light, dark = seen(page, 1200), seen(page, 1200, "--blink-settings=preferredColorScheme=0")
    assert light["paper"] == "rgb(255, 255, 255)" and dark["paper"] == "rgb(18, 22, 28)"
    assert light["plots"][0]["ink"] != dark["plots"][0]["ink"]


@needs_chromium
def test_nothing_but_tables_is_wider_than_a_small_window(page: Path):
    found = seen(page, 500)  # the narrowest window that headless Chromium opens
    assert found["seen"] <= 500 and found["wide"] <= found["seen"]


@needs_chromium
def test_pages_of_every_kind_fit_a_phone_and_are_red_only_for_what_failed(tmp_path: Path):
    first = record()
    other = first | {
        "started": "2026-01-02T10:00:00+00:00",
        "medseg": "9.9",
        "machine": first["machine"] | {"cores": 64},
    }
    paths = [write_report(tmp_path / name, one).with_name("bench.json") for name, one in (("a", first), ("b", other))]
    pages = [
        paths[0].with_name("report.html"),
        write_report(tmp_path / "m", merged(paths)),
        write_history(paths, tmp_path),
    ]
    for page in pages:
        framed = page.with_name("framed.html")  # no window is as narrow as a phone's
        framed.write_text(f'<iframe width="{PHONE}" height="800" srcdoc="{escape(page.read_text())}"></iframe>{RULER}')
        found = told(framed, 800)
        assert found["wide"] <= PHONE and found["tables"] > 0, page
        assert found["red"] == 0, page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_has_enough_contrast(page: Path, theme: str):
    sheets = page.read_text().split("@media (prefers-color-scheme: dark)")
    colours = dict(part.strip().split(": ") for part in _root(sheets[theme == "dark"]).split(";") if part.strip())
    for name in ("--ink", "--soft", "--bad", "--link"):
        for paper in ("--paper", "--card"):
            assert _contrast(colours[name], colours[paper]) >= 4.5, (name, paper)
    for number in range(8):
        assert _contrast(colours[f"--s{number}"], colours["--card"]) >= 3, number


def _root(sheet: str) -> str:
    return sheet.split(":root {")[1].split("}")[0].replace("\n", "").replace("; --", ";--")


def _contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours' luminances."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
