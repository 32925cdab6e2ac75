"""The documentation as a site: built strictly, so that a broken link is an error, with search and the Python API."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import medseg
from tests.docs.blocks import ROOT

QUIET = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # the theme's advertisement


def build(root: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--config-file", str(root / "mkdocs.yml")]
    return subprocess.run([*command, "--site-dir", str(out)], cwd=root, env=QUIET, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    done = build(ROOT, out)
    assert done.returncode == 0 and "WARNING" not in done.stderr, done.stderr
    return out


def test_every_page_is_there_and_can_be_searched(site: Path) -> None:
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages | {"index", "api", "changelog", "contributing", "security"} <= {
        page.stem for page in site.glob("*.html")
    }
    found = json.loads((site / "search/search_index.json").read_text())["docs"]
    assert pages <= {one["location"].split(".html")[0] for one in found}


def test_the_python_api_has_every_public_name_with_its_docstring(site: Path) -> None:
    html = (site / "api.html").read_text()
    offered = [name for name in medseg.__all__ if not name.startswith("_")]
    assert not [name for name in offered if f"medseg.{name}" not in html]
    assert "&gt;&gt;&gt;" in html and "The answers to everything in files and folders" in html


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        fetched = re.findall(r'<(?:script|img|link)\b[^>]*(?:src|href)="(https?://[^"]+)"', page.read_text())
        assert not [one for one in fetched if "canonical" not in one], page.name


def test_broken_links_are_errors(tmp_path: Path) -> None:
    """On a site of two pages, by the same settings and hooks."""
    links = ("nowhere.md", "run.md#no-such-heading", "../nowhere.md", "nowhere.png")
    (tmp_path / "docs").mkdir()
    (tmp_path / "medseg").mkdir()
    (tmp_path / "medseg/__init__.py").touch()
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
        (tmp_path / name).write_text(f"# {name}\n")
    (tmp_path / "docs/run.md").write_text("# Run\n\n" + "".join(f"[somewhere]({link})\n" for link in links))
    settings = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[0]
    (tmp_path / "mkdocs.yml").write_text(f"{settings}\nnav: [index.md, run.md]\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert not [link for link in links if f"'{link}'" not in done.stderr and link.split("#")[1:] != ["no-such-heading"]]
    assert "no-such-heading" in done.stderr
