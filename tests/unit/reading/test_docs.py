"""The examples of docs/training.md run as they stand, on a mixture that is there."""

import re
from pathlib import Path

import pytest

from samplemix_core.embedding.tokens import TokenCounter
from tests.mixtures import Published

GUIDE = (Path(__file__).parents[3] / "docs" / "training.md").read_text()


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL))
def test_an_example_runs(
    code: str, published: Published, words: TokenCounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "s3://bucket/mixtures/web/latest.json" in code
    latest = published.uri.replace("v000001/manifest.json", "latest.json")
    words._tokenizer.save(str(tmp_path / "tokenizer.json"))
    code = code.replace("org/model", str(tmp_path / "tokenizer.json"))
    exec(code.replace("s3://bucket/mixtures/web/latest.json", latest), {})
