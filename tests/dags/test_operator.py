"""The operator's errors as Airflow sees them."""

import json
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
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


REFIT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from samplemix_operators import SampleMixRefitOperator

raised = {}
for name, (wanted, drifted, policy) in json.loads(sys.argv[2]).items():
    config = {"corpus_uri": "s3://bucket/web", "mixture_name": "web", "policy": {"name": policy}}
    configured = {
        "config": config | {"diversity": {"refit_on_drift": wanted}},
        "corpus": "web",
        "crawl": "crawl-b",
    }
    drift = {"crawls": 2, "drifted": drifted}
    operator = SampleMixRefitOperator(task_id="refit", configured=configured, drift=drift)
    try:
        operator.execute({"run_id": "landing-1"})
    except Exception as error:
        raised[name] = [type(error).__name__, str(error), getattr(error, "trigger_dag_id", None), getattr(error, "conf", None)]
print(json.dumps(raised))
"""


def test_a_landed_crawl_that_drifts_has_its_corpus_fitted_again_unless_that_is_not_wanted(
    airflow_json: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    over = {"crawl-b": ["shares of clusters 3.10, over 1.5"]}
    cases = {
        "drifts": (True, over, "samplemix"),
        "not wanted": (False, over, "samplemix"),
        "another drifts": (True, {"crawl-a": ["far documents"]}, "samplemix"),
        "nobody reads it": (True, over, "natural"),
    }
    command = [sys.executable, "-c", REFIT, str(Path(__file__).parents[2] / "plugins"), json.dumps(cases)]
    raised = airflow_json(command, SAMPLEMIX_HOME=str(tmp_path / "home"))
    conf = {"corpus_uri": "web", "diversity": {"refit": True}}
    assert raised["drifts"][0] == "DagRunTriggerException"
    assert raised["drifts"][2:] == ["samplemix_fit_diversity", conf]
    assert {kind for name, (kind, *_) in raised.items() if name != "drifts"} == {"AirflowSkipException"}
    assert "policy" in raised["nobody reads it"][1]
    assert "refit_on_drift" in raised["not wanted"][1]


TELL = """
import io, json, logging, sys
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
from samplemix_operators import tell_failure

error = RuntimeError("web/part-7.jsonl killed the worker that ran it. Look at its records.")
task = SimpleNamespace(dag_id="samplemix_land_crawl", task_id="score", map_index=0, log_url="http://airflow/log")
configured = {"corpus": "web", "crawl": "crawl-b"}
said = io.StringIO()
logging.getLogger("samplemix_operators").addHandler(logging.StreamHandler(said))
tell_failure({"ti": task, "task": SimpleNamespace(configured=configured), "exception": error, "run_id": "landing-1"})
print(json.dumps({"said": said.getvalue()}))
"""


def test_a_failure_names_crawl_shard_and_remedy_to_the_webhook_whose_address_stays_secret(
    airflow_json: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    told: list[dict[str, str]] = []

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if len(told) == 1 else 500)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [sys.executable, "-c", TELL, str(Path(__file__).parents[2] / "plugins")]
    url = f"http://127.0.0.1:{server.server_port}/secret-token"
    # The second time the webhook is out of order, which is nobody's failure.
    said = [airflow_json(command, SAMPLEMIX_HOME=str(tmp_path), SAMPLEMIX_WEBHOOK_URL=url)["said"] for _ in range(2)]
    server.shutdown()
    server.server_close()
    assert told[0]["text"] == (
        "samplemix_land_crawl failed in score [0] for web/crawl-b, run landing-1: web/part-7.jsonl killed the worker that ran it."
        " Look at its records.\nhttp://airflow/log"
    )
    assert len(told) == 2
    assert "could not post to the webhook: HTTPStatusError; check SAMPLEMIX_WEBHOOK_URL" in said[1]
    assert "secret-token" not in "".join(said)
