"""The picture of a mixture, and the record it is drawn from."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from samplemix_core.database.mixtures import ProfileCell
from samplemix_core.errors import ConfigError
from samplemix_core.manifest.format import (
    Manifest,
    domain_shares,
)
from samplemix_core.report.labelling import label_circles
from samplemix_core.report.picture import MAX_DOMAINS, compact, draw_mixture, merge_smallest, wrap
from samplemix_core.report.record import DomainPoint, MixtureRecord, SampleHistogram, record_of
from tests.manifests import manifest_of


def point(domain: str, source_tokens: int, mixture_tokens: int, quality: float = 5.0, diversity: float = 0.5) -> DomainPoint:
    return DomainPoint(
        domain=domain,
        source_samples=1,
        source_tokens=source_tokens,
        source_share=0,
        samples=1,
        copies=1,
        mixture_tokens=mixture_tokens,
        mixture_share=0,
        mean_copies=1,
        quality=quality,
        diversity=diversity,
    )


def domains(n: int, seed: int = 0) -> list[DomainPoint]:
    rng = np.random.default_rng(seed)
    return [
        point(
            f"domain-{i}", int(rng.integers(1_000, 9_000)), int(rng.integers(0, 5_000)) + (i == 0), *rng.uniform((2, 0.1), (8, 0.9))
        )
        for i in range(n)
    ]


def cells(n: int, seed: int = 0) -> list[ProfileCell]:
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 900, n).tolist()
    return [
        ProfileCell(
            domain=f"domain-{i % 3}",
            quality_bin=int(np.clip(rng.normal(20, 8), 0, 39)),
            diversity_bin=int(25 * rng.beta(2, 3)),
            documents=2,
            source_tokens=tokens[i],
            mixture_tokens=tokens[i] * int(rng.integers(0, 4)),
            quality_sum=10.0,
            diversity_sum=1.0,
        )
        for i in range(n)
    ]


def manifest(names: Sequence[str] = ()) -> Manifest:
    one = [1] * len(names)
    shares = domain_shares(names, source_samples=one, source_tokens=one, samples=one, copies=one, mixture_tokens=one)
    return manifest_of(3, shares, budget_tokens=1_000_000, realised_tokens=999_990)


def histogram(n: int = 3_000) -> SampleHistogram:
    return record_of(manifest(), cells(n)).histogram


def record(points: Sequence[DomainPoint], binned: SampleHistogram | None = None) -> MixtureRecord:
    return MixtureRecord(manifest(), tuple(points), binned or histogram())


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_mixture_is_drawn_with_the_same_bytes_whatever_the_settings(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    draw_mixture(first, record(domains(8)))
    with mpl.rc_context({"font.size": 30, "savefig.dpi": 17, "svg.hashsalt": "other"}):
        draw_mixture(second, record(domains(8)))
        assert mpl.rcParams["font.size"] == 30
    assert first.read_bytes() == second.read_bytes()


def test_another_mixture_is_another_picture(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        draw_mixture(tmp_path / f"{name}.png", record(domains(8, seed)))
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_png_is_1400_by_700_pixels_and_an_svg_is_well_formed(tmp_path: Path) -> None:
    draw_mixture(tmp_path / "mixture.png", record(domains(8)))
    draw_mixture(tmp_path / "mixture.SVG", record(domains(8)))
    assert imread(tmp_path / "mixture.png").shape == (700, 1400, 4)
    assert ET.parse(tmp_path / "mixture.SVG").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("points", "binned"),
    [
        (
            [point("only", 100, 100)],
            histogram(1),
        ),
        ([point("kept", 10, 40, 0.0, 0.0), point("dropped", 10, 0, 10.0, 1.0)], histogram()),
        ([point(f"a-very-long-name-of-a-domain-{i}" * 3, 5, 5, 5.0, 0.5) for i in range(60)], histogram()),
        ([point("$\\broken{ of$", 5, 5, 5.0, 0.5), point("50% _of_ \\alpha", 5, 5, 5.0, 0.5)], histogram()),
        (domains(3), histogram(0)),
    ],
    ids=["one sample", "extremes", "many long names", "markup in names", "no samples"],
)
def test_odd_mixtures_are_drawn(tmp_path: Path, points: list[DomainPoint], binned: SampleHistogram) -> None:
    draw_mixture(tmp_path / "mixture.png", record(points, binned))
    assert imread(tmp_path / "mixture.png").std() > 0


def test_a_name_without_a_known_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'mixture\.pdf'.*\.png or \.svg"):
        draw_mixture(tmp_path / "mixture.pdf", record(domains(2)))


@pytest.mark.parametrize("points", [[], [point("empty", 0, 0, 5.0, 0.5)], [point("all dropped", 10, 0, 5.0, 0.5)]])
def test_domains_without_tokens_are_refused(tmp_path: Path, points: list[DomainPoint]) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_mixture(tmp_path / "mixture.png", record(points))


@given(st.integers(1, 60), st.integers(0, 5))
def test_merging_the_smallest_domains_loses_no_tokens(n: int, seed: int) -> None:
    points = domains(n, seed)
    merged = merge_smallest(points)
    assert len(merged) == min(n, MAX_DOMAINS)
    for tokens in ("source_tokens", "mixture_tokens"):
        assert sum(getattr(point, tokens) for point in merged) == sum(getattr(point, tokens) for point in points)
    assert all(2 <= point.quality <= 8 and 0.1 <= point.diversity <= 0.9 for point in merged)


def test_a_record_has_every_token_of_the_profile_and_the_means_of_each_domain() -> None:
    made = cells(200)
    found = record_of(manifest(["domain-0", "domain-1"]), made)
    assert found.histogram.source_tokens.sum() == sum(cell.source_tokens for cell in made)
    assert found.histogram.mixture_tokens.sum() == sum(cell.mixture_tokens for cell in made)
    assert found.histogram.source_tokens[made[0].quality_bin, made[0].diversity_bin] >= made[0].source_tokens
    means = [(item.domain, item.quality, item.diversity) for item in found.domains]
    assert means == [("domain-0", 5.0, 0.5), ("domain-1", 5.0, 0.5)]


@pytest.mark.parametrize("seed", range(5))
def test_names_beside_circles_do_not_cover_each_other(seed: int) -> None:
    figure = Figure(figsize=(7, 7), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rng = np.random.default_rng(seed)
    label_circles(
        axes, canvas, [f"domain-{i}" for i in range(16)], rng.uniform(0.1, 0.9, (16, 2)), rng.uniform(50, 900, 16).tolist(), "black"
    )
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in axes.texts]
    frame = axes.get_window_extent(canvas.get_renderer()).padded(1)
    assert len(boxes) == 16
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert not [(i, j) for i, box in enumerate(boxes) for j, other in enumerate(boxes[:i]) if box.overlaps(other)]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("code", "code"),
        ("scientific-articles-and-preprints", "scientific-articles-\nand-preprints"),
        ("a" * 30, "a" * 19 + "…"),
        ("common_crawl_2024_english_web", "common_crawl_2024_\nenglish_web"),
    ],
)
def test_long_names_take_two_lines(name: str, lines: str) -> None:
    assert wrap(name) == lines


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (999, "999"),
        (1_000, "1k"),
        (2_500_000, "2.5M"),
        (100_000_000_000, "100B"),
        (1_234_000_000_000, "1.23T"),
        (999_999, "1M"),
        (0, "0"),
        (1_234_567_000_000_000, "1230T"),
    ],
)
def test_tokens_are_written_compactly(tokens: int, text: str) -> None:
    assert compact(tokens) == text
