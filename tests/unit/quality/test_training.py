"""Training judges heads on what they have not seen: groups are whole, sources are dealt evenly, and what can't be learnt isn't."""

from dataclasses import replace

import numpy as np

from samplemix_core.quality.baselines import LabelledInputs, assign_folds
from samplemix_core.quality.ordinal import Inputs
from samplemix_core.quality.training import ORDINAL, choose_settings, train_heads


def made(n: int = 400, *, signal: float = 3.0, group_size: int = 1) -> LabelledInputs:
    """Documents of three sources; a level 0 to 3 hangs on a direction, and each group has a direction of its own besides."""
    rng = np.random.default_rng(3)
    groups = np.arange(n) // group_size
    own = rng.normal(size=(groups.max() + 1, 16))
    value = np.repeat(rng.normal(size=groups.max() + 1), group_size)[:n]
    levels = np.digitize(value, (-0.7, 0.0, 0.7))
    vectors = own[groups] * (2.0 if group_size > 1 else 1.0) + 0.1 * rng.normal(size=(n, 16))
    vectors[:, 0] += signal * value
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return LabelledInputs(
        inputs=Inputs(vectors.astype(np.float32), rng.normal(size=(n, 2))),
        levels={"depth": (levels > 1).astype(np.int64), "overall": levels},
        maxima={"depth": 1, "overall": 3},
        sources=np.arange(n) // group_size % 3,
        source_names=("a", "b", "c"),
        groups=groups,
    )


def test_groups_are_whole_and_every_fold_has_its_share_of_each_source() -> None:
    data = made(group_size=4)
    fold = assign_folds(data, 5, seed=1)
    for group in np.unique(data.groups):
        assert np.unique(fold[data.groups == group]).size == 1
    for source in range(3):
        counts = np.bincount(fold[data.sources == source], minlength=5)
        assert counts.max() - counts.min() <= 8
    np.testing.assert_array_equal(fold, assign_folds(data, 5, seed=1))
    assert (fold != assign_folds(data, 5, seed=2)).any()


def test_what_can_be_learnt_is_found_on_documents_that_were_not_seen() -> None:
    told: list[tuple[int, int, str]] = []
    data = made()
    _, report = train_heads(data, folds=4, seed=1, baselines=True, on_progress=lambda *step: told.append(step))
    depth, overall = report.scores
    assert (depth.score, overall.score) == ("depth", "overall")
    assert overall.methods[ORDINAL]["kappa"].low > 0.8
    assert all(overall.gains[method]["mae"].low > 0 for method in ("majority", "source"))
    assert set(overall.methods) == {ORDINAL, "paper's rule", "majority", "source", "ridge", "boosting", "classification"}
    assert set(depth.auc) == set(depth.methods)
    assert depth.auc[ORDINAL] > 0.9 > 0.6 > depth.auc["source"]
    assert overall.auc == {}
    confusion = np.array(overall.confusion)
    assert confusion.shape == (4, 4)
    assert confusion.sum() == report.judged == report.documents == 400
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(data.levels["overall"]))
    assert sum(documents for documents, _, _ in overall.calibration) == 400
    assert [source.documents for source in report.sources] == [134, 133, 133]
    assert [count for count, _ in report.curve] == sorted(count for count, _ in report.curve)
    assert report.curve[-1][1]["mae"] < report.curve[0][1]["mae"]
    assert (told[0][0], told[-1][0]) == (0, told[-1][1])


def test_a_level_that_one_group_alone_has_is_no_obstacle() -> None:
    data = made(n=120)
    rare = np.zeros(120, dtype=np.int64)
    rare[data.groups == 7] = 1
    _, report = train_heads(replace(data, levels={"rare": rare}, maxima={"rare": 1}), folds=3, seed=1, baselines=True)
    assert report.scores[0].methods["majority"]["acc"].value == 119 / 120


def test_nothing_is_found_where_there_is_nothing() -> None:
    _, report = train_heads(made(signal=0.0), folds=4, seed=1, baselines=False)
    found = report.scores[-1].methods[ORDINAL]["kappa"]
    assert found.low < 0.1
    assert found.high < 0.35


def test_knowing_a_group_helps_nobody() -> None:
    """Copies of a page share a level and a direction of their own: heads that may see a page's copies know its level by heart."""
    data = made(n=600, signal=0.0, group_size=6)
    _, apart = train_heads(data, folds=4, seed=1, baselines=False)
    mixed = LabelledInputs(data.inputs, data.levels, data.maxima, data.sources, data.source_names, np.arange(600))
    _, together = train_heads(mixed, folds=4, seed=1, baselines=False)
    assert together.scores[-1].methods[ORDINAL]["kappa"].low > apart.scores[-1].methods[ORDINAL]["kappa"].high


def test_the_same_labels_give_the_same_heads_and_report() -> None:
    data = made(n=200)
    first, second = (train_heads(data, folds=3, seed=5, baselines=True) for _ in range(2))
    assert first[0].to_bytes() == second[0].to_bytes()
    assert first[1] == second[1]


def test_more_noise_asks_for_a_stronger_penalty() -> None:
    assert choose_settings(made(signal=0.0), 0).penalty > choose_settings(made(n=2000, signal=3.0), 0).penalty
