"""A Griffe extension that shows the examples in docstrings (`>>>`) as Python sessions."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


class Examples(griffe.Extension):
    """Puts every example of a docstring into a fenced code block."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change an object's docstring in place."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
