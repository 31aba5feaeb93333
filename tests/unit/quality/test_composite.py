import numpy as np
import pyarrow as pa
import pytest

from samplemix_core.identity import fingerprint
from samplemix_core.quality import composite, criteria
from samplemix_core.quality.composite import FEATURES, composite_model, score_quality
from samplemix_core.quality.rubric import DEFAULT_RUBRIC

ARTICLE = """The harbour froze twice in that century, and both times the town came close to starving. Ships could not land
grain, because the ice reached four miles out; the roads inland, however, were worse. In 1684 the council therefore bought barley
from farmers in the hills, who demanded silver in advance.

Historians have long disagreed about what followed. Some argue that the purchase saved the town, since prices fell within
a month. Others point to the parish registers: burials doubled between January and March, which suggests that relief came too
late for the poorest families. Neither side has explained why the second winter, although it was colder, left so few traces.
"""
SPAM = "<html><BODY><FONT COLOR=red>!!! FREE MONEY !!!</FONT><BR>CLICK HERE NOW!!! http://win.example $$$ ACT TODAY!!!</BODY>\n" * 6
MENU = "Home\nAbout\nContact\nLogin\nHome\nAbout\nNews\nSearch\nContact\nPrivacy\nTerms\nLogin\n" * 4
WORD_LIST = "cheap flights hotels insurance mortgage casino poker pharmacy download ringtones wallpaper " * 12
CODE = '''
def moving_average(values, window):
    """Return the mean of each run of `window` values."""
    if window < 1:
        raise ValueError(f"window must be positive, not {window}")
    total = sum(values[:window])
    means = [total / window]
    for left, right in zip(values, values[window:]):
        total += right - left
        means.append(total / window)
    return means


def largest(values, key=lambda value: value):
    best = None
    for value in values:
        if best is None or key(value) > key(best):
            best = value
    return best
'''


def quality(*texts: str) -> list[float]:
    return [float(q) for q in score_quality(pa.array(texts, pa.large_string())).quality]


def test_an_article_beats_code_beats_a_menu_a_word_list_and_spam() -> None:
    article, code, menu, word_list, spam = quality(ARTICLE, CODE, MENU, WORD_LIST, SPAM)
    assert article > 7.5
    assert 4 < code < article
    assert max(menu, word_list, spam) < code
    assert max(menu, spam) < 2.5


def test_an_empty_text_scores_finite_and_low() -> None:
    [empty] = quality("")
    assert 0 <= empty < 4


def test_repetition_costs() -> None:
    once, often = quality(ARTICLE, ARTICLE * 6)
    assert often < once - 2


def test_dimensions_and_features_of_the_tables_exist() -> None:
    assert tuple(criteria.CRITERIA) == DEFAULT_RUBRIC.names
    tables = [(entry.feature, entry.ramp) for entry in criteria.DAMAGE]
    tables += [(entry.feature, entry.ramp) for group in criteria.CRITERIA.values() for entry in group]
    for feature, ramp in tables:
        assert feature in FEATURES
        xs, ys = zip(*ramp, strict=True)
        assert list(xs) == sorted(set(xs))
        assert min(ys) >= 0
        assert max(ys) <= 1


def test_the_model_id_changes_with_any_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {fingerprint(composite_model())}
    assert fingerprint(composite_model()) in ids
    monkeypatch.setattr(composite, "VERSION", composite.VERSION + 1)
    ids.add(fingerprint(composite_model()))
    monkeypatch.setattr(composite, "DAMAGE", criteria.DAMAGE[1:])
    ids.add(fingerprint(composite_model()))
    clarity = criteria.CRITERIA["clarity"]
    heavier = (clarity[0]._replace(weight=clarity[0].weight + 1), *clarity[1:])
    monkeypatch.setitem(criteria.CRITERIA, "clarity", heavier)
    ids.add(fingerprint(composite_model()))
    assert len(ids) == 4


def test_scores_are_the_same_again() -> None:
    array = pa.array([ARTICLE, CODE, MENU, WORD_LIST, SPAM] * 20, pa.large_string())
    np.testing.assert_array_equal(score_quality(array).dimensions, score_quality(array).dimensions)
