"""MkDocs hooks: pages from outside docs/, links that point out of docs/, and the Python API from docstrings."""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = {  # a file of the repository's root, and the page that it becomes
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)#\s:]+)(#[^)\s]*)?\)")  # [text](path#anchor), or a picture's
API = """# Python, name by name

What `import medseg` offers, from the docstrings. [Python](python.md) shows how the names work together.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files, together with the pages that are not in docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=inside((ROOT / source).read_text(), "")))
    files.append(File.generated(config, "api.md", content=api()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The text of a page of docs/ as the site shows it."""
    return markdown if page.file.generated_by else inside(markdown, "docs")


def inside(markdown: str, folder: str) -> str:
    """The text of a file in a folder of the repository, with its links changed so that they work in the site."""

    def mended(match: re.Match[str]) -> str:
        picture, text, path, anchor = match.groups()
        target = (ROOT / folder / path).resolve()
        if not target.exists():
            return match[0]  # MkDocs reports that it is broken
        where = target.relative_to(ROOT).as_posix()
        if where.startswith("docs/"):
            return f"{picture}[{text}]({where.removeprefix('docs/')}{anchor or ''})"
        return f"[{text}]({PAGES[where]}{anchor or ''})" if where in PAGES else text

    return LINK.sub(mended, markdown)


def api() -> str:
    """A page with every public name of medseg, written as a user writes it."""
    homes = dict(sorted(offered().items(), key=lambda pair: (pair[0][0].isupper(), pair[0])))
    return API + "".join(f"\n::: {home}\n    options:\n      heading: medseg.{name}\n" for name, home in homes.items())


def offered() -> dict[str, str]:
    """Public names and where each is defined, read from the text of medseg/__init__.py; nothing is imported."""
    lines = re.findall(r"^    from (\S+) import (\w+) as \2$", (ROOT / "medseg/__init__.py").read_text(), re.MULTILINE)
    return {name: f"{module}.{name}" for module, name in lines}
