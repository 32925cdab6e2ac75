"""The fenced blocks of the documentation, with what stands above each of how it was tried."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
SHELL = ("sh", "bash", "console", "")
_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"(?:^|\s+)#(?:\s.*)?$")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    mark: str  # the HTML comment above it
    text: str

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its lines as a shell runs them: continued ones joined, comments left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [one for line in lines if (one := _COMMENT.sub("", line).strip())]


def blocks(page: Path) -> Iterator[Block]:
    """The page's fenced blocks."""
    text = page.read_text()
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("language")) + 1
        yield Block(page, line, found["language"], found["mark"] or "", found["text"])


def shell_blocks() -> list[Block]:
    """Every block of commands, of every page."""
    return [block for page in PAGES for block in blocks(page) if block.language in SHELL]
