"""The report in a real browser: no console errors, plots drawn, tables sorted, nothing wider than a phone."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from medseg.bench.report import with_comparison, write_report
from tests.bench.test_report import record

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """
<script>
const errors = [];
addEventListener("error", (event) => errors.push(event.message));
addEventListener("securitypolicyviolation", (event) => errors.push(event.violatedDirective));
addEventListener("load", () => {
  const first = document.querySelector("table.sortable");
  const rows = () => [...first.tBodies[0].rows].map((row) => row.cells[0].textContent);
  const buttons = [...first.querySelectorAll("thead button")];
  const p50 = buttons.find((button) => button.textContent === "p50");
  p50.click(); const ascending = rows(); p50.click(); const descending = rows();
  const plots = [...document.querySelectorAll("figure svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    return { width: box.width, height: box.height, marks: svg.querySelectorAll("path, use").length,
             ink: getComputedStyle(svg.querySelector("text")).fill, name: svg.getAttribute("aria-label") };
  });
  const images = [...document.images].map((image) => image.naturalWidth * image.alt.length);
  const result = { errors, ascending, descending, plots, images, wide: document.documentElement.scrollWidth,
                   seen: innerWidth, paper: getComputedStyle(document.body).backgroundColor };
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(result);
});
</script>
"""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, which is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    made = record()
    return write_report(folder, with_comparison(made, made, {"p50": 0.1, "score": -0.001}))


def seen(page: Path, width: int, *flags: str) -> dict:
    """What the browser makes of the page at this width in CSS pixels."""
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("<head>", "<head>" + PROBE, 1))
    command = [
        str(CHROMIUM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"--window-size={width},900",
    ]
    done = subprocess.run([*command, *flags, probed.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    text = done.stdout.split('<pre id="found">')[1].split("</pre>")[0]
    return json.loads(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


@needs_chromium
def test_the_page_loads_without_errors_draws_its_plots_and_sorts(page: Path):
    found = seen(page, 1200)
    assert found["errors"] == []
    assert len(found["plots"]) == 4
    for plot in found["plots"]:
        assert plot["width"] > 300 and plot["height"] > 150 and plot["marks"] > 10 and plot["name"]
    assert found["ascending"] == ["fast", "slow"] and found["descending"] == ["slow", "fast"]
    assert len(found["images"]) == 8 and all(found["images"])


@needs_chromium
def test_dark_mode_changes_paper_and_plots(page: Path):
    light, dark = seen(page, 1200), seen(page, 1200, "--blink-settings=preferredColorScheme=0")
    assert light["paper"] == "rgb(255, 255, 255)" and dark["paper"] == "rgb(18, 22, 28)"
    assert light["plots"][0]["ink"] != dark["plots"][0]["ink"]


@needs_chromium
def test_nothing_but_tables_is_wider_than_a_small_window(page: Path):
    found = seen(page, 500)  # the narrowest window that headless Chromium opens
    assert found["seen"] <= 500 and found["wide"] <= found["seen"]


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
