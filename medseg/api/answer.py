"""Answer: what a pipeline found in one picture or volume, as arrays, a table and a picture; files when asked for."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from medseg.data.grid import png
from medseg.data.picture import compared
from medseg.task import Array, Geometry, Request, Task, Tensors

Row = Mapping[str, float | int | str]
_SHOWN = 20  # rows of a table in a notebook
_WIDEST_PX = 1000


@dataclass(frozen=True, repr=False)
class Answer:
    """An answer in memory.

    `arrays` are the pipeline's outputs by name, as `medseg info TASK` lists them.

    >>> import medseg
    >>> (answer,) = medseg.predict("luna", "ct.mhd", runs=["runs/luna-segment", "runs/luna-nodule"], threshold=0)
    >>> int(answer.mask.max()) == len(answer.table)
    True
    """

    task: Task
    request: Request
    arrays: Tensors

    @property
    def name(self) -> str:
        """What the picture, volume or series is called; never a patient's name."""
        return self.request.name

    @property
    def geometry(self) -> Geometry | None:
        """Where the volume lies in the patient; None for a picture."""
        return self.request.geometry

    @property
    def mask(self) -> Array:
        """What was found, on the image's own grid, uint8 or wider: a list's labels, or 0 and 1 by class."""
        make = self.task.files.mask
        return make(self.request, self.arrays) if make else self.arrays["mask"]

    @property
    def table(self) -> list[Row]:
        """The answer's rows if it is a list, such as nodules; otherwise empty."""
        make = self.task.files.table
        return list(make(self.arrays)) if make else []

    @property
    def notes(self) -> tuple[str, ...]:
        """Why the answer may be doubtful: notes about the file, and the output `notes` if the pipeline has one."""
        told = [note.decode() for note in self.arrays.get("notes", ())]
        return (*self.request.notes, *(note for note in told if not any(note in one for one in self.request.notes)))

    def save(self, folder: Path | str) -> list[Path]:
        """The files written into the folder, in the field's formats, as `medseg predict` writes them."""
        where = Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        return self.task.files.write(self.request, self.arrays, where)

    def picture(self) -> bytes:
        """A PNG of the image with the mask's outline. Raises InputError where the task has no views."""
        scoring = self.task.known_scoring("draw an answer")
        case = scoring.case_of(self.request)
        return png(compared(scoring.views([case], {"answer": scoring.masks([case], [self.arrays])})))

    def __repr__(self) -> str:
        """The answer in a line, without its arrays."""
        shapes = ", ".join(f"{name} {array.shape}" for name, array in self.arrays.items())
        return f"Answer({self.task.name!r}, {self.name!r}: {shapes})"

    def _repr_html_(self) -> str:
        """The answer as shown in a notebook: its picture, its table and its notes."""
        shown = f'<img src="data:image/jpeg;base64,{_jpeg(self.picture())}">' if self.task.scoring else ""
        notes = "".join(f"<p>note: {escape(note)}</p>" for note in self.notes)
        return f"<h4>{escape(self.task.name)}: {escape(self.name)}</h4>{shown}{_html(self.table)}{notes}"


def _jpeg(picture: bytes) -> str:
    """A PNG made small enough for a notebook: at most _WIDEST_PX wide, as JPEG in base64."""
    with Image.open(io.BytesIO(picture)) as image:
        image.thumbnail((_WIDEST_PX, _WIDEST_PX))
        small = io.BytesIO()
        image.convert("RGB").save(small, "JPEG", quality=85)
    return b64encode(small.getvalue()).decode()


def _html(rows: Sequence[Row]) -> str:
    """The first rows as an HTML table."""
    if not rows:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_text(value)}</td>' for value in row.values())}</tr>" for row in rows[:_SHOWN])
    more = f"<p>and {len(rows) - _SHOWN} more</p>" if len(rows) > _SHOWN else ""
    return f"<table><tr>{head}</tr>{body}</table>{more}"


def _text(value: float | int | str) -> str:
    return f"{value:.3f}" if isinstance(value, float) else escape(str(value))
