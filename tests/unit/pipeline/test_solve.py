"""Policies with targets in runs: in phases, and with a limit on one document."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core.config.run import RunConfig
from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.mixing import source as source_module
from samplemix_core.mixing.phases import room_of
from samplemix_core.mixing.shard_samples import ShardSamples
from samplemix_core.mixing.source import Source
from samplemix_core.pipeline.solve import budget_tokens, solve
from samplemix_core.policies.policy import Scale
from samplemix_core.report.why import cell_kappa

SAMPLES = 900
SCALE = Scale(0.0, 10.0)


@pytest.fixture
def source() -> Source:
    return made()


def made(directory: Path | None = None) -> Source:
    """Domain books has 150 samples, and web 750; one in 50 has 40 times as many tokens as the others."""
    rng = np.random.default_rng(6)
    tokens = np.full(SAMPLES, 50)
    tokens[::50] = 2_000
    labels = {"language": ["de", "en"]}
    source = Source(SAMPLES, {1: "web", 2: "books"}, np.linspace(0, 1, 6, dtype=np.float32), 42, (0, 1), labels, directory)
    source.add(
        ShardSamples(
            snapshot="s",
            path="s/a",
            row=np.arange(SAMPLES),
            domain=np.where(np.arange(SAMPLES) < 150, 2, 1).astype(np.int32),
            n_tokens=tokens.astype(np.int32),
            quality=rng.uniform(0, 10, SAMPLES).astype(np.float32),
            cluster=rng.integers(0, 6, SAMPLES).astype(np.int32),
            distance=rng.random(SAMPLES).astype(np.float32),
            diversity=(np.arange(SAMPLES) % 6 / 5).astype(np.float32),
            labels={"language": rng.integers(0, 2, SAMPLES).astype(np.int32)},
        )
    )
    return source.finish()


def shares(source: Source, copies: np.ndarray) -> dict[str, float]:
    sums = source.domain_sums(copies)
    return dict(zip(source.domains, (sums.mixture_tokens / sums.mixture_tokens.sum()).tolist(), strict=True))


def test_a_phase_shares_out_what_earlier_ones_left(source: Source) -> None:
    # Books have 13,350 tokens with each once. The first phase has nearly all of them; the second wants half, and gets what is left.
    phases = [
        {"name": "first", "share": 0.4, "policy": "fixed", "shares": {"books": 1.0}},
        {"name": "last", "share": 0.6, "policy": "temperature", "temperature": 1000},
    ]
    config = RunConfig.model_validate({"corpus_uri": "s3://b/c", "phases": phases, "max_copies": 1})
    is_book = source.domain == source.domains.index("books")
    books = int(source.tokens[is_book].sum())
    found = solve(config, source, SCALE, int(books * 0.9 / 0.4))
    in_last = shares(source, found.in_phases["last"])
    left = books - int((found.in_phases["first"].astype(np.int64) * source.tokens)[is_book].sum())
    assert found.realised_tokens <= int(books * 0.9 / 0.4) < found.realised_tokens + 2_000
    assert in_last["books"] * found.phases[1].realised_tokens == pytest.approx(left, abs=2_000)
    for phase in found.phases:
        cells = {cell.of["domain"]: cell for cell in phase.solver.cells}
        assert sum(cell.realised_tokens for cell in cells.values()) == phase.realised_tokens
    assert {cell.of["domain"] for cell in found.phases[0].solver.cells} == {"books"}
    first = found.phases[0].solver
    assert (cell_kappa(first, {"domain": "books"}), cell_kappa(first, {"domain": "web"})) == (first.cells[0].kappa, 0.0)


def test_a_phase_that_can_not_meet_its_shares_says_what_would_help(source: Source) -> None:
    phases = [{"name": name, "share": 0.5, "policy": "fixed", "shares": {"books": 1.0}} for name in ("first", "last")]
    config = RunConfig.model_validate({"corpus_uri": "s3://b/c", "phases": phases, "max_copies": 1})
    with pytest.raises(BudgetError, match=r"Phase 'last': .*100.00% for domain=books by the policy") as raised:
        solve(config, source, SCALE, 20_000)
    assert "The nearest budget that can be met is" in raised.value.remedy


def test_shares_know_what_the_most_of_one_document_leaves(source: Source) -> None:
    budget = 20_000
    config = RunConfig.model_validate(
        {"corpus_uri": "s3://b/c", "policy": "temperature", "temperature": 1000, "max_copies": 2, "max_share": 0.01}
    )
    room = room_of(source.tokens, 2, 200)
    assert room.tolist() == [0 if tokens == 2_000 else 2 for tokens in source.tokens.tolist()]
    found = solve(config, source, SCALE, budget)
    assert shares(source, found.copies)["books"] == pytest.approx(0.5, abs=0.01)
    assert not found.copies[source.tokens == 2_000].any()
    over = config.model_copy(update={"max_copies": 4})
    found = solve(over, source, SCALE, 60_000)
    # max_share lets 3 copies in: 147 short books have 29,400 tokens in all with 4, less than half.
    assert shares(source, found.copies)["books"] == pytest.approx(29_400 / 60_000, abs=0.01)


def test_a_budget_of_documents_is_the_papers(source: Source) -> None:
    # Long documents are the best, so that the same share of the documents has more tokens.
    source.quality[::50] = 10.0
    values = {"corpus_uri": "s3://b/c", "alpha": 0.3, "tau": 0.5, "budget": "40%", "max_copies": 50}
    exact = RunConfig.model_validate(values)
    counted = RunConfig.model_validate({**values, "budget_unit": "documents"})
    budget = budget_tokens(counted, source, SCALE)
    assert budget > 1.05 * budget_tokens(exact, source, SCALE)
    # The paper: c = |D| w / sum w, with |D| = .4 of the documents.
    p = 0.3 * source.diversity[source.cluster] + 0.7 * source.quality / 10
    wanted = 0.4 * SAMPLES * np.exp(p / 0.5) / np.exp(p / 0.5).sum()
    by_chance = np.sqrt((source.tokens.astype(float) ** 2 * (wanted % 1) * (1 - wanted % 1)).sum())
    assert abs(budget - (wanted * source.tokens).sum()) < 4 * by_chance
    solved = solve(counted, source, SCALE, budget)
    assert solved.realised_tokens == pytest.approx(budget, abs=2_000)
    assert abs(int(solved.copies.sum()) - 0.4 * SAMPLES) <= 2
    assert (np.abs(solved.copies - wanted) < 1.01).all()
    few = RunConfig.model_validate({**values, "budget_unit": "documents", "budget": "300%", "max_copies": 2})
    with pytest.raises(BudgetError, match="2,700 copies can't be made of 900 documents with at most 2 of each"):
        budget_tokens(few, source, SCALE)
    phases = [{"name": "one", "share": 0.5, "policy": "samplemix", "budget_unit": "documents"}, {"name": "two", "share": 0.5}]
    with pytest.raises(ConfigError, match="Phases share a budget of tokens"):
        budget_tokens(RunConfig.model_validate({**values, "phases": phases}), source, SCALE)


@pytest.mark.parametrize(
    "settings",
    [
        {"policy": "samplemix"},
        {"policy": "samplemix", "budget_unit": "documents"},
        {"policy": "topk", "constraints": {"hold": ["language"], "copies": {"domain=books": 1}, "documents": 200}},
        {"policy": "quadmix", "max_share": 0.02},
        {"phases": [{"name": "one", "share": 0.5, "policy": "unimax"}, {"name": "two", "share": 0.5, "policy": "qurating"}]},
    ],
    ids=lambda settings: str(settings.get("policy", "phases")),
)
def test_columns_in_files_give_the_same_bytes(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = made(tmp_path)
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(source_module, "MOST_IN_MEMORY", SAMPLES - 1)
    monkeypatch.setattr(source_module, "_ROWS_AT_ONCE", 100)
    mapped = made(tmp_path)
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sum(sizes.values()) == SAMPLES * (2 + 4 + 4 + 2 + 2 + 4 + 8 + 8 + 1)
    config = RunConfig.model_validate({"corpus_uri": "s3://b/c", "budget": "30%", **settings})
    found = []
    for each in (in_memory, mapped):
        budget = budget_tokens(config, each, SCALE)
        solved = solve(config, each, SCALE, budget)
        rows = pa.concat_tables(each.rows(solved.copies, dict(solved.in_phases)))
        found.append((budget, solved.solver, solved.policy, rows.to_pydict()))
    assert found[0] == found[1]
