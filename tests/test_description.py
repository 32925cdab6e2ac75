import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from medseg.description import DESCRIPTION, Kind, described, document_of, read_description, text_of
from medseg.errors import RunError
from medseg.schema import closed, count, one_of

KIND = Kind("picture", closed({"scheme": one_of("range")}), {"side": count(1, 64)}, {"steps": count(1, 9)})
WHOLE = {
    "format": 1,
    "kind": "picture",
    "title": "cells",
    "channels": [{"name": "grey", "modality": "microscopy", "normalisation": {"scheme": "range"}}],
    "classes": [
        {"name": "nucleus", "value": 1, "colour": [255, 0, 0]},
        {"name": "wall", "value": 2, "codes": [{"scheme": "SCT", "value": "1", "meaning": "wall"}]},
    ],
    "activation": "softmax",
    "side": 32,
    "source": {"project": "cells", "files": {"a.pth": "0" * 64}, "license": "MIT"},
}
REGIONS = {
    "activation": "sigmoid",
    "threshold": 0.25,
    "classes": [{"name": "whole", "region": [1, 2]}, {"name": "core", "region": [2]}],
}


def changed(**entries: Any) -> dict[str, Any]:
    whole = deepcopy(WHOLE) | entries
    return {name: value for name, value in whole.items() if value is not ...}


@pytest.mark.parametrize("document", [WHOLE, changed(**REGIONS), changed(source=..., title=..., steps=3)])
def test_a_description_is_written_as_it_was_read(document: dict[str, Any], tmp_path: Path) -> None:
    found = described(document, KIND, "it")
    assert document_of(found) == document
    (tmp_path / DESCRIPTION).write_text(text_of(found))
    assert read_description(tmp_path, KIND) == found
    assert found.own["side"] == 32


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"format": 2}, "has format 2"),
        ({"format": True}, "format is a truth value"),
        ({"kind": "volume"}, "'volume'; expected one of picture"),
        ({"chanels": []}, "unknown entry 'chanels'"),
        ({"side": 0}, "side is 0"),
        ({"side": ...}, "no entry 'side'"),
        ({"channels": []}, "channels has 0 entries"),
        ({"channels": [{"name": "grey", "normalisation": {"scheme": "z"}}]}, "expected one of range"),
        ({"channels": WHOLE["channels"] * 2}, "two channels have the name 'grey'"),
        ({"classes": [{"name": "a", "value": 256}]}, "256"),
        ({"classes": [{"name": "a/b", "value": 1}]}, "without slashes"),
        ({"classes": [{"name": "a", "value": 1, "color": [1, 2, 3]}]}, "unknown entry 'color'"),
        ({"classes": [{"name": "a", "value": 1}, {"name": "A", "value": 2}]}, "two classes have the name 'a'"),
        ({"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 1}]}, "two classes have the value 1"),
        ({"classes": [{"name": "a", "value": 2}]}, "expected 1, 2, ... or 0, 1, ..."),
        ({"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 3}]}, "the values 1, 3"),
        ({"classes": [{"name": "a"}]}, "neither a value nor a region"),
        ({"classes": [{"name": "a", "value": 1, "region": [1]}]}, "both a value and a region"),
        ({"classes": [{"name": "a", "region": [1]}]}, "softmax has regions"),
        ({"threshold": 0.5}, "softmax has a threshold"),
        ({"activation": "relu"}, "expected one of softmax, sigmoid"),
        ({**REGIONS, "threshold": float("nan")}, "expected a number from 0 to 1"),
        ({"source": {"licence": "MIT"}}, "unknown entry 'licence'"),
    ],
)
def test_what_is_wrong_with_a_description_is_told(entries: dict[str, Any], words: str) -> None:
    with pytest.raises(RunError) as error:
        described(changed(**entries), KIND, "it")
    assert words in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("content", [None, "", "{", "[]", "[" * 100_000, "3", json.dumps({"format": [1]})])
def test_a_file_that_is_no_description_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / DESCRIPTION).write_text(content)
    with pytest.raises(RunError, match=DESCRIPTION.replace(".", "[.]")):
        read_description(tmp_path, KIND)
