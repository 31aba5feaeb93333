"""What a mixture does to each domain: source before, mixture after."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from samplemix_core.mixing.solver import compiled

DomainCodes = npt.NDArray[np.int8] | npt.NDArray[np.int16] | npt.NDArray[np.int32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
CopiesArray = npt.NDArray[np.uint16] | npt.NDArray[np.int32]


class DomainSums(NamedTuple):
    """What a mixture does to each of D domains; each int64 (D,)."""

    source_samples: Int64Array
    source_tokens: Int64Array
    samples: Int64Array
    copies: Int64Array
    mixture_tokens: Int64Array

    def as_lists(self) -> dict[str, list[int]]:
        """The sums by name, as Python's integers."""
        return {name: values.tolist() for name, values in self._asdict().items()}


def domain_sums(domain_codes: DomainCodes, domains: int, tokens: Int32Array, copies: CopiesArray) -> DomainSums:
    """Sums of n samples for each domain, exact: domain_codes (n,) from 0 to `domains` - 1, tokens (n,), copies (n,).

    Raises ValueError for a code that is no domain's.
    """
    if not domain_codes.shape == tokens.shape == copies.shape:
        raise ValueError(f"shapes differ: domain_codes {domain_codes.shape}, tokens {tokens.shape}, copies {copies.shape}")
    if domain_codes.size and not 0 <= int(domain_codes.min()) <= int(domain_codes.max()) < domains:
        raise ValueError(f"domain codes {domain_codes.min()}..{domain_codes.max()} do not index {domains} domains")
    return DomainSums(*_sums(domain_codes, tokens, copies, domains))


@compiled
def _sums(codes: DomainCodes, tokens: Int32Array, copies: CopiesArray, domains: int) -> tuple[Int64Array, ...]:
    source_samples = np.zeros(domains, dtype=np.int64)
    source_tokens = np.zeros(domains, dtype=np.int64)
    samples = np.zeros(domains, dtype=np.int64)
    copied = np.zeros(domains, dtype=np.int64)
    mixture_tokens = np.zeros(domains, dtype=np.int64)
    for i in range(codes.size):
        code = codes[i]
        count = np.int64(copies[i])
        source_samples[code] += 1
        source_tokens[code] += tokens[i]
        samples[code] += count > 0
        copied[code] += count
        mixture_tokens[code] += count * tokens[i]
    return source_samples, source_tokens, samples, copied, mixture_tokens
