"""The operator's errors as Airflow sees them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from samplemix_core.pipeline.handoff import Registered

EXECUTE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from samplemix_operators import SampleMixStepOperator

registered = json.loads(sys.argv[2])
raised = {}
for name, uri in {"setting": "not/absolute", "service": "s3://bucket/corpus"}.items():
    configured = {"config": {"corpus_uri": uri, "mixture_name": "web"}}
    operator = SampleMixStepOperator(
        task_id=name, step="score:check_loss", configured=configured, inputs={"registered": registered}
    )
    try:
        operator.execute({"run_id": "manual"})
    except Exception as error:
        raised[name] = [type(error).__name__, str(error)]
print(json.dumps(raised))
"""


def test_what_can_not_pass_fails_the_task_and_what_can_is_left_to_its_retries(
    airflow_json: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    registered = Registered(
        corpus_id=1,
        corpus_key="corpus",
        encoder_id=1,
        encoder_key="encoder",
        device="cpu",
        precision="float32",
        batch_tokens=4096,
        tokenizer="encoder",
        tokenizer_id="tokenizer",
        quality_model_id=1,
        quality_model_key="quality",
        quality_low=0,
        quality_high=10,
        snapshots=("s1",),
        snapshot_ids=(1,),
        shards=1,
        last_shard_id=1,
    )
    command = [sys.executable, "-c", EXECUTE, str(Path(__file__).parents[2] / "plugins"), registered.model_dump_json()]
    nowhere = "postgresql://nobody@127.0.0.1:1/nowhere"
    raised = airflow_json(command, SAMPLEMIX_HOME=str(tmp_path / "home"), SAMPLEMIX_DATABASE_URL=nowhere)
    assert {name: kind for name, (kind, _) in raised.items()} == {"setting": "AirflowFailException", "service": "ServiceError"}
    assert "corpus_uri" in raised["setting"][1]
