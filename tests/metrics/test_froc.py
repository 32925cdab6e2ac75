import numpy as np
import pytest

from medseg.errors import InputError
from medseg.metrics.finding import Finding
from medseg.metrics.froc import FALSE_POSITIVES, Judged, counted, froc, judged
from medseg.metrics.froc_bands import RESAMPLES, bands
from medseg.tasks.luna.froc import marks, submission_froc
from tests.shared import SHARED, needs_shared

FROC = SHARED / "data/luna/froc"
NODULE = Finding("a", (0, 0, 0), 10)


def mark(probability: float, x: float = 0, series: str = "a") -> Finding:
    return Finding(series, (x, 0, 0), probability)


@needs_shared
def test_the_published_submission_scores_as_published() -> None:
    found = submission_froc(FROC, FROC / "deeplung_dpn26_submission.csv")
    published = [0.692, 0.769, 0.824, 0.865, 0.893, 0.917, 0.933]
    assert [round(value, 3) for value in found.sensitivity.values()] == published
    assert round(found.cpm, 3) == 0.842
    assert (found.scans, found.nodules, found.found) == (888, 1186, 1136)


def test_a_mark_hits_closer_than_the_radius() -> None:
    assert froc([mark(0.9, 4.99)], [NODULE], [], ["a"]).cpm == 1
    assert froc([mark(0.9, 5.0)], [NODULE], [], ["a"]).cpm == 0
    assert froc([], [NODULE], [], ["a"]).cpm == 0


def test_second_marks_on_a_nodule_are_neither_right_nor_wrong() -> None:
    found = froc([mark(0.2), mark(0.9, 1), mark(0.5, 2)], [NODULE], [], ["a"])
    assert (found.found, found.false, found.cpm) == (1, 0, 1)


def test_marks_on_excluded_findings_are_left_out_and_those_are_10_mm_wide() -> None:
    excluded = [Finding("a", (100, 0, 0), -1)]
    assert froc([mark(0.9, 104.9), mark(0.5)], [NODULE], excluded, ["a"]).false == 0
    assert froc([mark(0.9, 105.1), mark(0.5)], [NODULE], excluded, ["a"]).false == 1


def test_false_marks_before_the_hit_cost_sensitivity_by_scan() -> None:
    marks = [mark(0.9, 50), mark(0.5)]
    assert froc(marks, [NODULE], [], ["a"]).sensitivity == {rate: float(rate >= 1) for rate in FALSE_POSITIVES}
    many = [f"s{number}" for number in range(7)]  # the same mark is one in eight scans
    assert froc(marks, [NODULE], [], ["a", *many]).cpm == 1


def test_scans_outside_of_the_series_and_marks_after_the_hundredth_do_not_count() -> None:
    marks = [mark(0.5), *(mark(0.6 + number / 1000, 50) for number in range(100))]
    assert froc(marks, [NODULE], [], ["a"]).found == 0
    assert froc(marks[:100], [NODULE], [], ["a"]).found == 1
    elsewhere = [mark(0.9, 50, "z"), mark(0.8)]
    assert froc(elsewhere, [NODULE], [], ["a"]).false == 0


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    marks = [mark(float(p), float(x)) for p, x in zip(rng.random(60), rng.uniform(-60, 60, 60), strict=True)]
    nodules = [NODULE, Finding("a", (30, 0, 0), 6)]
    assert froc(marks, nodules, [], ["a"]) == froc(marks[::-1], nodules[::-1], [], ["a"])


def test_scans_without_any_nodule_have_no_sensitivity() -> None:
    with pytest.raises(InputError, match="no annotated nodule"):
        froc([mark(0.5)], [], [], ["a"])


def scans(seed: int, count: int) -> list[Judged]:
    """Judged scans with ties between hits and false marks, and some scans with neither nodules nor marks."""
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        nodules = int(draw.integers(4))
        hits, false = draw.random(int(draw.integers(nodules + 1))), draw.random(int(draw.integers(12)))
        made.append(Judged(nodules, hits.round(1), false.round(1)))
    return made


def resampled(found: list[Judged]) -> np.ndarray:
    """The sensitivities of every resample (resamples, 7), each counted by itself as if its scans were all there are."""
    draw = np.random.default_rng(0)
    picks = [draw.integers(len(found), size=len(found)) for _ in range(RESAMPLES)]
    rates = [counted([found[index] for index in pick]) for pick in picks if any(found[index].nodules for index in pick)]
    return np.array([list(one.sensitivity.values()) for one in rates])


@pytest.mark.parametrize(("seed", "count"), [(0, 30), (1, 8), (2, 2), (3, 100)])
def test_intervals_are_those_of_resampled_scans(seed: int, count: int) -> None:
    found = scans(seed, count)
    expected = np.sort(resampled(found), axis=0)
    low, high = int(0.025 * len(expected)), int(0.975 * len(expected))
    spread = bands(found)
    assert spread is not None
    assert np.allclose(list(spread.sensitivity.values()), expected[[low, high]].T, atol=1e-12)
    assert np.allclose(spread.cpm, np.sort(resampled(found).mean(1))[[low, high]], atol=1e-12)


def test_intervals_of_scans_with_very_many_false_marks() -> None:
    draw = np.random.default_rng(5)
    found = [Judged(2, draw.random(1), draw.random(300)) for _ in range(12)]
    expected = np.sort(resampled(found).mean(1))[[25, 975]]
    assert np.allclose(bands(found).cpm, expected, atol=1e-12)  # type: ignore[union-attr]


def test_a_lone_scan_and_scans_without_nodules_have_no_interval() -> None:
    assert bands(judged([mark(0.9)], [NODULE], [], ["a"])) is None
    assert bands([Judged(0, np.array([]), np.array([0.5]))] * 3) is None
    nothing = bands([Judged(1, np.array([]), np.array([]))] * 3)
    assert nothing is not None and nothing.cpm == (0, 0)


@pytest.mark.parametrize("shape", [(3,), (2, 7), (2, 10), (1, 2, 8), ()])
def test_an_answer_that_is_no_table_of_nodules_has_no_score(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="expected 8 columns, or 9 with the malignancy"):
        marks("a", {"nodules": np.zeros(shape)})
