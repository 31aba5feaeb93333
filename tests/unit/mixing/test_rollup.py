"""Roll-ups of a mixture, against adding up sample by sample."""

from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest

from samplemix_core import schemas
from samplemix_core.mixing import rollup
from samplemix_core.mixing.rollup import MixtureRollup, quality_bands
from samplemix_core.mixing.shard_samples import ShardSamples, scaled
from samplemix_core.mixing.source import Source

DIVERSITY = np.array([0.0, 0.25, 1.0], dtype=np.float32)


def drawn(rng: np.random.Generator, snapshot: str, shard: str, rows: int) -> ShardSamples:
    return ShardSamples(
        snapshot=snapshot,
        path=f"{snapshot}/{shard}",
        row=np.arange(rows, dtype=np.int64) * 3,
        domain=rng.integers(1, 4, rows).astype(np.int32),
        n_tokens=rng.integers(0, 2**31 - 1, rows).astype(np.int32),
        quality=rng.uniform(-1, 11, rows).astype(np.float32),
        cluster=rng.integers(0, 3, rows).astype(np.int32),
        distance=rng.uniform(0, 2, rows).astype(np.float32),
        diversity=rng.random(rows).astype(np.float32),
        labels={"language": rng.integers(0, 2, rows).astype(np.int32), "content_type": rng.integers(0, 3, rows).astype(np.int32)},
    )


LABELS = {"language": ["de", "en"], "content_type": ["code", "list", "prose"]}


@pytest.mark.parametrize("labels", [LABELS, {"language": LABELS["language"]}, {}])
@pytest.mark.parametrize("rows_at_once", [1, 7, 2**20])
def test_cells_and_counts_are_the_sums_of_their_samples(
    rows_at_once: int, labels: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollup, "_ROWS_AT_ONCE", rows_at_once)
    rng = np.random.default_rng(5)
    shards = [drawn(rng, "s-2", "a", 40), drawn(rng, "s-1", "b", 0), drawn(rng, "s-1", "a", 25), drawn(rng, "s-2", "b", 10)]
    names = {1: "web", 2: "books", 3: "a, b"}
    source = Source(75, names, DIVERSITY, 1, labels=labels)
    for shard in shards:
        source.add(shard)
    copies = rng.integers(0, 5, 75).astype(np.uint16)
    found = MixtureRollup.of(source.finish(), copies, 0.0, 10.0)

    cells: dict[tuple[str, int, int, str, str], np.ndarray[tuple[int, ...], np.dtype[np.object_]]] = defaultdict(
        lambda: np.zeros(13, dtype=object)
    )
    diverse: dict[tuple[str, int, int, str, str], list[float]] = defaultdict(list)
    copied: dict[tuple[str, int, int, str, str], list[int]] = defaultdict(list)
    counts: dict[tuple[str, str, int], list[int]] = defaultdict(lambda: [0, 0])
    position = 0
    for shard in shards:
        for i in range(shard.row.size):
            c, t = int(copies[position]), int(shard.n_tokens[i])
            q, d = round(Fraction(float(shard.quality[i])) * 10_000), round(Fraction(float(shard.distance[i])) * 10_000)
            band = min(39, max(0, int(np.floor(float(shard.quality[i]) / 10.0 * 40))))
            sums = [1, t, q, q * q, d, d * d, c > 0, c, c * t, c * q, c * q * q, c * d, c * d * d]
            own = [labels[name][shard.labels[name][i]] if name in labels else "" for name in LABELS]
            key = names[int(shard.domain[i])], int(shard.cluster[i]), band, own[0], own[1]
            cells[key] += np.array(sums, dtype=object)
            diverse[key].append(float(shard.diversity[i]))
            copied[key].append(c)
            held = counts[shard.snapshot, names[int(shard.domain[i])], c]
            held[0], held[1] = held[0] + 1, held[1] + t
            position += 1
    assert found.cells.schema == schemas.CELLS
    rows = found.cells.drop_columns(["diversity", "diversity_spread", "mixture_diversity"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [(*key, *(int(value) for value in sums)) for key, sums in sorted(cells.items())]
    for name, of in (("diversity", np.mean), ("diversity_spread", np.std)):
        np.testing.assert_allclose(found.cells[name], [of(values) for _, values in sorted(diverse.items())], atol=1e-4)
    mixed = [np.repeat(diverse[key], often if any(often) else [1] * len(often)) for key, often in sorted(copied.items())]
    np.testing.assert_allclose(found.cells["mixture_diversity"], [own.mean() for own in mixed], atol=1e-4)
    assert found.copy_counts.schema == schemas.COPY_COUNTS
    assert [tuple(row.values()) for row in found.copy_counts.to_pylist()] == [(*key, *held) for key, held in sorted(counts.items())]


def test_bands_are_fortieths_between_the_bounds_and_hold_what_lies_outside() -> None:
    quality = np.array([-5, 1, 1.0999, 1.1, 4.999, 5, 99], dtype=np.float32)
    assert quality_bands(quality, 1.0, 5.0).tolist() == [0, 0, 0, 1, 39, 39, 39]


def test_half_a_unit_goes_to_the_even_one() -> None:
    assert scaled(np.array([1 / 32, 3 / 32, 5 / 32], dtype=np.float32)).tolist() == [312, 938, 1562]
