"""Constants outside of models: the same answers, and the same file when they are given back."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from medseg.export.constants import Constants
from medseg.export.parity import onnx_infer
from medseg.export.ways import Way
from tests.export.kinds import KINDS, evened_ways, made_of


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_without_its_constants_answers_alike_and_gets_them_back(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.export.constants.LARGE", 8)
    made = made_of(KINDS[kind])
    constants, sample = Constants(), made.known.samples[0]
    left = constants.taken(made.model)
    outside = [one.name for one in left.graph.initializer if one.data_location == TensorProto.EXTERNAL]
    assert outside and left.ByteSize() < made.model.ByteSize()
    np.testing.assert_array_equal(constants.infer(left)(sample), onnx_infer(made.model)(sample))
    assert constants.given_back(left) == made.model


@pytest.mark.parametrize("refitted", [False, True])
def test_drafts_of_a_way_answer_as_its_files_do(refitted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.export.constants.LARGE", 8)
    made = made_of(KINDS["planes"])
    way = evened_ways(made)[0]
    samples = made.known.samples if refitted else ()
    lowering = Way(way.model, way.ranges, way.origin, samples).lowering(made.known)
    for kept in ([], lowering.names[:1], lowering.names[1:], lowering.names):
        draft, model = lowering.draft(kept), lowering.make(kept)
        onnx.checker.check_model(model, full_check=True)
        assert all(one.data_location != TensorProto.EXTERNAL for one in model.graph.initializer)
        assert lowering.share(draft) == lowering.share(model)
        for sample in made.known.samples[:2]:
            np.testing.assert_array_equal(lowering.judge(draft)(sample), onnx_infer(model)(sample))
