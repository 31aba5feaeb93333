import numpy as np
import pytest

from samplemix_core.errors import CorpusError
from samplemix_core.pipeline.mix import MAX_DOMAINS, _DomainCodes


def test_domains_of_other_corpora_do_not_count():
    names = {number: f"domain-{number}" for number in range(1, MAX_DOMAINS + 10_000)}
    names[5], names[MAX_DOMAINS + 5_000] = "web", "books"
    codes = _DomainCodes(names)
    met = codes.of(np.array([5, MAX_DOMAINS + 5_000, 5], dtype=np.int32))
    assert codes.sort(met) == ["books", "web"]
    assert met.tolist() == [1, 0, 1]


def test_a_run_of_too_many_domains_is_refused():
    names = {number: f"domain-{number}" for number in range(MAX_DOMAINS + 1)}
    codes = _DomainCodes(names)
    assert codes.of(np.arange(MAX_DOMAINS, dtype=np.int32)).max() == MAX_DOMAINS - 1
    with pytest.raises(CorpusError, match="more than 32,767 domains"):
        codes.of(np.array([MAX_DOMAINS], dtype=np.int32))
