from itertools import chain

import pytest

from medseg.data.samples import batches_of


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", range(1, 20))
def test_no_batch_of_several_ends_in_a_lone_sample(count: int, size: int) -> None:
    batches = batches_of(range(count), size)
    assert list(chain.from_iterable(batches)) == list(range(count))
    assert all(1 <= len(batch) <= size + 1 for batch in batches)
    assert size == 1 or count == 1 or min(map(len, batches)) > 1
