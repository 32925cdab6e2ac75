import pytest

from medseg.schema import a, number


@pytest.mark.parametrize("value", [0, -1.5, 1e308, 10**300])
def test_finite_numbers_are_numbers(value: float) -> None:
    assert number(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, -(10**400), True, None, "1", [1], {}])
def test_what_no_float_holds_is_no_number(value: object) -> None:
    assert not number(value)
    assert "expected a number" in str(a("a number", number, quoted=True)(value, "it"))
