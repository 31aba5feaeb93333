"""What a mixture does to each domain: source before, mixture after."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from samplemix_core.mixing.domain_share import DomainShare
from samplemix_core.mixing.solver import compiled

DomainCodes = npt.NDArray[np.int8] | npt.NDArray[np.int16] | npt.NDArray[np.int32]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
CopiesArray = npt.NDArray[np.uint16] | npt.NDArray[np.int32]


def domain_table(
    domain_codes: DomainCodes, domain_names: Sequence[str], tokens: Int32Array, copies: CopiesArray
) -> tuple[DomainShare, ...]:
    """Per-domain figures of n samples, sorted by domain name; domains without samples are left out.

    domain_codes (n,) index `domain_names`, which must not repeat a name; tokens (n,) and copies (n,) belong to the same
    samples. Sums are exact integers. Raises ValueError for a code without a name.
    """
    if len(set(domain_names)) != len(domain_names):
        raise ValueError(f"domain names repeat: {sorted(domain_names)}")
    if not domain_codes.shape == tokens.shape == copies.shape:
        raise ValueError(f"shapes differ: domain_codes {domain_codes.shape}, tokens {tokens.shape}, copies {copies.shape}")
    if domain_codes.size and not 0 <= int(domain_codes.min()) <= int(domain_codes.max()) < len(domain_names):
        raise ValueError(f"domain codes {domain_codes.min()}..{domain_codes.max()} do not index {len(domain_names)} domain names")
    sums = _sums(domain_codes, tokens, copies, len(domain_names))
    source_total = max(1, int(sums[:, 1].sum()))
    mixture_total = max(1, int(sums[:, 4].sum()))
    rows = []
    for name, row in sorted(zip(domain_names, sums.tolist(), strict=True)):
        source_samples, source_tokens, samples, copied, mixture_tokens = row
        if source_samples:
            rows.append(
                DomainShare(
                    domain=name,
                    source_samples=source_samples,
                    source_tokens=source_tokens,
                    source_share=source_tokens / source_total,
                    samples=samples,
                    copies=copied,
                    mixture_tokens=mixture_tokens,
                    mixture_share=mixture_tokens / mixture_total,
                    mean_copies=copied / source_samples,
                )
            )
    return tuple(rows)


@compiled
def _sums(codes: DomainCodes, tokens: Int32Array, copies: CopiesArray, domains: int) -> Int64Array:
    """Per domain: samples, tokens, samples with a copy, copies, tokens of all copies."""
    sums = np.zeros((domains, 5), dtype=np.int64)
    for i in range(codes.size):
        row = sums[codes[i]]
        count = np.int64(copies[i])
        row[0] += 1
        row[1] += tokens[i]
        row[2] += count > 0
        row[3] += count
        row[4] += count * tokens[i]
    return sums
