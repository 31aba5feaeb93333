"""The examples of docs/training.md run as they stand, on a mixture that is there."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from samplemix_core.cli.main import app
from samplemix_core.embedding.tokens import TokenCounter
from tests.mixtures import Published

DOCS = Path(__file__).parents[3] / "docs"
GUIDE = (DOCS / "training.md").read_text()


EXAMPLES = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
(TRAINING,) = (code for code in EXAMPLES if "checkpoint.pt" in code)


@pytest.mark.parametrize("code", [code for code in EXAMPLES if code is not TRAINING])
def test_an_example_runs(
    code: str, published: Published, words: TokenCounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "s3://bucket/mixtures/web/latest.json" in code
    latest = published.uri.replace("v000001/manifest.json", "latest.json")
    words._tokenizer.save(str(tmp_path / "tokenizer.json"))
    code = code.replace("org/model", str(tmp_path / "tokenizer.json"))
    exec(code.replace("s3://bucket/mixtures/web/latest.json", latest), {})


def test_a_job_that_was_stopped_trains_the_same_model(
    published: Published, words: TokenCounter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words._tokenizer.save(str(tmp_path / "tokenizer.json"))

    def train(place: str, steps: int, workers: int) -> dict[str, Any]:
        (tmp_path / place).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / place)
        monkeypatch.setattr(sys, "argv", ["train.py", published.uri, str(tmp_path / "tokenizer.json"), str(steps), str(workers)])
        exec(TRAINING, {})
        found: dict[str, Any] = torch.load("checkpoint.pt")
        return found

    train("stopped", 12, 2)
    stopped = train("stopped", 20, 0)
    (tmp_path / "train.py").write_text(TRAINING)
    command = [sys.executable, str(tmp_path / "train.py"), published.uri, str(tmp_path / "tokenizer.json"), "20", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    # It ends in the middle of an epoch, without a word about that.
    assert (done.stdout.split(":")[0], done.stderr) == ("step 0", "")
    whole = torch.load(tmp_path / "checkpoint.pt")
    assert stopped["data"] == whole["data"]
    assert all(torch.equal(stopped["model"][name], whole["model"][name]) for name in whole["model"])
    options = ["--batch-size", "8", "--seed", "1", "--sequence-length", "128", "--packing", "best-fit", "--json"]
    traced = json.loads(CliRunner().invoke(app, ["trace", published.uri, "--step", "15", *options]).output)
    assert sum(piece["stop"] - piece["start"] for piece in traced) == 8 * 128


def test_the_pages_of_frameworks_compile() -> None:
    """They run in tests/conformance, where the frameworks are installed."""
    for name in ("mosaicml", "hugging-face", "olmo"):
        page = (DOCS / f"{name}.md").read_text()
        assert [compile(code, name, "exec") for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL)]
