"""Networks fitted to int8's rounding by what they answer themselves in float32."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from medseg.errors import ExportError, InputError
from medseg.export.chain import export, export_together
from medseg.export.distill import UNFINISHED, Distill, Distilled, distance, distilled
from medseg.export.evening import Range, channel_peaks, ranges_of
from medseg.export.graph import onnx_from_program, torch_infer
from medseg.export.int8 import int8_within
from medseg.export.lessons import lessons, pool
from medseg.export.options import ExportOptions
from medseg.export.parity import Budget, onnx_infer
from medseg.export.samples import Calibration, Drawn
from medseg.export.student import Student
from medseg.export.ways import given
from medseg.run import GIVEN_GRAPH, WEIGHTS, Run
from medseg.task import Array, Network
from medseg.tasks import task_named
from medseg.train.weights import save_weights
from tests.export.kinds import CHOOSING, KINDS, Planes, samples_of, traced
from tests.export.made import network, run_of

ANY = Budget(0.0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_answers_as_its_int8_file(kind: str) -> None:
    made = KINDS[kind]
    program, samples = traced(made), samples_of(made)
    model = onnx_from_program(program, made)
    student = Student(program, _ranges(model, samples))
    infer = torch_infer(program)
    known = Calibration(samples, [infer(one) for one in samples], "made")
    found = next(int8_within(given(model, student.ranges()), made, known, ANY))
    assert found.share["weight_bytes"] > 0.99 or kind == "merged"  # of which OpenVINO computes a part wrongly
    with torch.no_grad():
        expected = student(torch.from_numpy(samples[0])).numpy()
    answer, full = onnx_infer(found.model)(samples[0]), known.references[0]
    assert np.abs(answer - expected).mean() < 0.02 * np.abs(full - expected).mean()


def test_ranges_of_other_products_are_refused() -> None:
    made = KINDS["planes"]
    ranges = _ranges(onnx_from_program(traced(made), made), samples_of(made)[:1])
    for others in (ranges[1:], [ranges[1], ranges[0], *ranges[2:]]):
        with pytest.raises(ExportError, match="products with weights where its program has 4, or in another order"):
            Student(traced(made), others)


def _ranges(model: onnx.ModelProto, samples: list[Array]) -> list[Range]:
    """The same for all channels of an input, so that a fit finds better ones."""
    return list(ranges_of(channel_peaks(model, samples), 0.0).values())


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "crops" not in request.node.name:
        monkeypatch.setattr("medseg.export.lessons.VOXELS", 1 << 14)


def _fit(folder: Path, steps: int, samples: list[Array], kind: str = "planes") -> Distilled:
    made = KINDS[kind]
    run = Run(folder) if folder.exists() else run_of(made.build(), folder)
    program = traced(made)
    ranges = _ranges(onnx_from_program(program, made), samples)
    return distilled(run, made, program, ranges, Drawn(samples, [], "made-up pictures"), Distill(10, steps))


@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_that_was_stopped_ends_as_one_that_was_not(kind: str, tmp_path: Path) -> None:
    samples = samples_of(KINDS[kind], 12)
    _fit(tmp_path / "stopped", 3, samples, kind)
    resumed, whole = (_fit(tmp_path / name, 7, samples, kind) for name in ("stopped", "whole"))
    assert resumed.model == whole.model and resumed.facts["steps"] == 7
    for one, other in zip(resumed.ranges, whole.ranges, strict=True):
        assert np.array_equal(one.steps, other.steps)


def test_a_fit_brings_the_student_nearer_to_its_teacher(tmp_path: Path) -> None:
    """On values with long tails, which a range can hardly hold."""
    facts = _fit(tmp_path / "run", 50, [(one / 600) ** 5 * 600 for one in samples_of(KINDS["planes"], 12)]).facts
    assert facts["before"] < facts["after"] and facts["best_step"] == facts["steps"] == 50
    assert (facts["fitted"], facts["held_out"], facts["data"]) == (9, 3, "made-up pictures")


def test_a_fit_on_other_samples_begins_anew(tmp_path: Path) -> None:
    samples = samples_of(KINDS["planes"], 12)
    _fit(tmp_path / "run", 2, samples)
    other = _fit(tmp_path / "run", 1, samples[1:])
    assert other.facts["steps"] == 1


@pytest.mark.parametrize("content", [b"", b"no state", b"PK\x03\x04"])
def test_a_damaged_state_is_named(content: bytes, tmp_path: Path) -> None:
    samples = samples_of(KINDS["planes"], 4)
    _fit(tmp_path / "run", 1, samples)
    (tmp_path / "run" / UNFINISHED).write_bytes(content)
    with pytest.raises(ExportError, match=r"int8\.distilling\.pt cannot be read .*expected the state of a fit: remove"):
        _fit(tmp_path / "run", 1, samples)


def test_a_step_always_has_the_same_crops_half_of_them_where_the_teacher_is_unsure() -> None:
    made = replace(network(None), free_axes={2: 4, 3: 4}, input_shape=(1, 512, 512), output_shape=(1, 512, 512))
    place = np.zeros((1, 1, 512, 512), np.float32)
    place[0, 0, 300, 40] = 1.0
    taught = lessons(made, lambda sample: np.where(sample == 1.0, 0.0, -9.0), Drawn([place] * 8, [], "one"))
    batch = taught.batch(5)
    assert batch.shape == (8, 1, 128, 128) and np.array_equal(batch, taught.batch(5))
    assert all(crop.max() == 1.0 for crop in batch[1::2]) and not batch[::2].max(axis=(1, 2, 3)).all()


@pytest.mark.parametrize(
    ("made", "logits"),
    [
        (network(None), torch.tensor([0.3, -4.0]).reshape(1, 1, 1, 2)),
        (replace(network(None), activation="softmax"), torch.tensor([0.3, -4.0, 1.0, 0.0]).reshape(1, 2, 1, 2)),
        (replace(network(None), activation="softmax", folds=2), torch.arange(8.0).reshape(1, 4, 1, 2)),
        (replace(network(None), **CHOOSING), torch.tensor([[3.0, -2.0]])),
    ],
)
def test_the_teacher_itself_is_nearest(made: Network, logits: torch.Tensor) -> None:
    student = logits.clone().requires_grad_()
    distance(made, student, logits).backward()
    assert student.grad is not None and student.grad.abs().max() < 1e-6
    assert distance(made, logits + torch.randn_like(logits), logits) > distance(made, logits, logits)


@pytest.fixture(scope="module")
def brains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "brains"
    task_named("brain-lgg").known_data("test").phantom(folder, 6, 0)
    return folder


def test_samples_that_judge_a_file_are_not_learnt_from(brains: Path) -> None:
    made = task_named("brain-lgg").networks[0]
    every = pool(made, brains, Calibration([], [], ""))
    rest = pool(made, brains, Calibration(every.samples[:2], [], "two"))
    judged = {one.tobytes() for one in every.samples[:2]}
    assert len(every.samples) == 6 and len(rest.samples) == 4 and not judged & {one.tobytes() for one in rest.samples}
    few = pool(made, brains, Calibration(every.samples, [], "6 samples"))
    assert (len(few.samples), few.origin) == (3, "3 of the 6 samples, on which the file is judged too")


def _options(data: Path, **changes: Any) -> ExportOptions:
    return ExportOptions(int8=True, data=data, samples=2, scored=0, distill=Distill(1, 2), dice=0.0, **changes)


def test_an_export_records_the_fit_and_leaves_the_weights(brains: Path, tmp_path: Path) -> None:
    made = task_named("brain-lgg").networks[0]
    run = Run.create(tmp_path / "run", made.name, {**made.options, "features": 2}, {"kind": "random"})
    save_weights(run, made.build(**run.options))
    assert not export(run, made, _options(brains), lambda stage: None)
    first = {name: (run.path / name).read_bytes() for name in (WEIGHTS, "fp32.onnx", "int8.onnx")}
    facts = run.files["int8.onnx"]["distilled"]
    assert (facts["steps"], facts["fitted"] + facts["held_out"], facts["measure"]) == (2, 4, "dice")
    assert facts["data"] == f"4 samples from {brains}" and not (run.path / UNFINISHED).exists()
    assert not export(run, made, _options(brains), lambda stage: None)
    assert first == {name: (run.path / name).read_bytes() for name in first}, "the same steps give the same file"


def test_a_graph_without_pytorch_is_refused_before_any_work(brains: Path, tmp_path: Path) -> None:
    made = task_named("brain-lgg").networks[0]
    run = Run.create(tmp_path / "run", made.name, {}, {})
    with run.adding(GIVEN_GRAPH, {}) as file:
        onnx.save(onnx.ModelProto(), file)
    with pytest.raises(ExportError, match=rf"run {run.path} holds an ONNX graph, which PyTorch cannot fit"):
        export_together([run], _options(brains, fp16=True), lambda run, stage: pytest.fail(f"{stage} was begun"))


def test_bounds_of_a_fit_without_one_are_refused(tmp_path: Path) -> None:
    from medseg.cli.export import Made

    assert Made().distilling is None and Made(distill=True, steps=3).distilling == Distill(steps=3)
    for bounds in ({"minutes": 0.0}, {"steps": 2}):
        with pytest.raises(InputError, match="expected --distill with them"):
            assert Made(**bounds).distilling
    with pytest.raises(ExportError, match="expected --int8 with --distill"):
        export(
            run_of(Planes(), tmp_path / "run"), KINDS["planes"], ExportOptions(distill=Distill()), lambda stage: None
        )
