import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread

from samplemix_core.errors import ConfigError
from samplemix_core.report.labels import label_circles
from samplemix_core.report.picture import MAX_DOMAINS, _compact, _merge_smallest, _wrap, draw_mixture
from samplemix_core.report.record import DomainPoint, Heading, SampleHistogram

HEADING = Heading("demo", 3, "samplemix (alpha 0.8, tau 0.2)", 1_000_000, 999_990)


def samples(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return (
        rng.normal(5, 2, n).astype(np.float32),
        rng.beta(2, 3, n).astype(np.float32),
        rng.integers(1, 900, n),
        rng.integers(0, 4, n),
    )


def domains(n: int, seed: int = 0) -> list[DomainPoint]:
    rng = np.random.default_rng(seed)
    return [
        DomainPoint(
            f"domain-{i}", int(rng.integers(1_000, 9_000)), int(rng.integers(0, 5_000)) + (i == 0), *rng.uniform((2, 0.1), (8, 0.9))
        )
        for i in range(n)
    ]


HISTOGRAM = SampleHistogram.count(*samples(3_000))


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_mixture_is_drawn_with_the_same_bytes_whatever_the_settings(tmp_path: Path, suffix: str) -> None:
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    draw_mixture(first, HEADING, domains(8), HISTOGRAM)
    with mpl.rc_context({"font.size": 30, "savefig.dpi": 17, "svg.hashsalt": "other"}):
        draw_mixture(second, HEADING, domains(8), HISTOGRAM)
        assert mpl.rcParams["font.size"] == 30
    assert first.read_bytes() == second.read_bytes()


def test_another_mixture_is_another_picture(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        draw_mixture(tmp_path / f"{name}.png", HEADING, domains(8, seed), HISTOGRAM)
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "two.png").read_bytes()


def test_a_png_is_1400_by_700_pixels_and_an_svg_is_well_formed(tmp_path: Path) -> None:
    draw_mixture(tmp_path / "mixture.png", HEADING, domains(8), HISTOGRAM)
    draw_mixture(tmp_path / "mixture.SVG", HEADING, domains(8), HISTOGRAM)
    assert imread(tmp_path / "mixture.png").shape == (700, 1400, 4)
    assert ET.parse(tmp_path / "mixture.SVG").getroot().tag.endswith("svg")


@pytest.mark.parametrize(
    ("points", "histogram"),
    [
        (
            [DomainPoint("only", 100, 100, 5.0, 0.5)],
            SampleHistogram.count(np.array([5.0]), np.array([0.5]), np.array([100]), np.array([1])),
        ),
        ([DomainPoint("kept", 10, 40, 0.0, 0.0), DomainPoint("dropped", 10, 0, 10.0, 1.0)], HISTOGRAM),
        ([DomainPoint(f"a-very-long-name-of-a-domain-{i}" * 3, 5, 5, 5.0, 0.5) for i in range(60)], HISTOGRAM),
        ([DomainPoint("$\\broken{ of$", 5, 5, 5.0, 0.5), DomainPoint("50% _of_ \\alpha", 5, 5, 5.0, 0.5)], HISTOGRAM),
        (domains(3), SampleHistogram.count(*(array[:0] for array in samples(1)))),
    ],
    ids=["one sample", "extremes", "many long names", "markup in names", "no samples"],
)
def test_odd_mixtures_are_drawn(tmp_path: Path, points: list[DomainPoint], histogram: SampleHistogram) -> None:
    draw_mixture(tmp_path / "mixture.png", HEADING, points, histogram)
    assert imread(tmp_path / "mixture.png").std() > 0


def test_a_name_without_a_known_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'mixture\.pdf'.*\.png or \.svg"):
        draw_mixture(tmp_path / "mixture.pdf", HEADING, domains(2), HISTOGRAM)


@pytest.mark.parametrize("points", [[], [DomainPoint("empty", 0, 0, 5.0, 0.5)], [DomainPoint("all dropped", 10, 0, 5.0, 0.5)]])
def test_domains_without_tokens_are_refused(tmp_path: Path, points: list[DomainPoint]) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        draw_mixture(tmp_path / "mixture.png", HEADING, points, HISTOGRAM)


@given(st.integers(1, 60), st.integers(0, 5))
def test_merging_the_smallest_domains_loses_no_tokens(n: int, seed: int) -> None:
    points = domains(n, seed)
    merged = _merge_smallest(points)
    assert len(merged) == min(n, MAX_DOMAINS)
    for tokens in ("source_tokens", "mixture_tokens"):
        assert sum(getattr(point, tokens) for point in merged) == sum(getattr(point, tokens) for point in points)
    assert all(2 <= point.quality <= 8 and 0.1 <= point.diversity <= 0.9 for point in merged)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 10))
def test_histograms_of_parts_add_up_to_that_of_the_whole(n: int, split: int, seed: int) -> None:
    arrays = samples(n, seed)
    split = min(split, n)
    whole = SampleHistogram.count(*arrays)
    parts = SampleHistogram.count(*(array[:split] for array in arrays)) + SampleHistogram.count(
        *(array[split:] for array in arrays)
    )
    np.testing.assert_array_equal(whole.source_tokens, parts.source_tokens)
    np.testing.assert_array_equal(whole.mixture_tokens, parts.mixture_tokens)
    assert whole.source_tokens.sum() == arrays[2].sum()
    assert whole.mixture_tokens.sum() == (arrays[2] * arrays[3]).sum()


def test_a_histogram_counts_as_a_loop_does_with_outliers_in_the_outermost_bins() -> None:
    arrays = samples(500, seed=4)
    histogram = SampleHistogram.count(*arrays, bins=(10, 5))
    expected = np.zeros((10, 5))
    for quality, diversity, tokens, _ in zip(*arrays, strict=True):
        expected[min(max(int(np.floor(quality)), 0), 9), min(int(np.floor(diversity / 0.2)), 4)] += tokens
    np.testing.assert_array_equal(histogram.source_tokens, expected)
    assert arrays[0].min() < 0
    assert arrays[0].max() > 10


def test_histograms_with_different_edges_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="different edges"):
        HISTOGRAM + SampleHistogram.count(*samples(10), bins=(3, 3))


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
    assert _wrap(name) == lines


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
    assert _compact(tokens) == text
