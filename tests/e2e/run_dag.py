"""Run one DAG in this process by dag.test() and print what came of it as one line of JSON.

A program of its own: Airflow reads its settings from the environment when it is imported, and tests must not share them.
"""

import json
import sys

from airflow.dag_processing.dagbag import DagBag
from airflow.utils.db import initdb


def main(dag_folder: str, dag_id: str, conf: str) -> None:
    initdb()
    bag = DagBag(dag_folder)
    assert not bag.import_errors, bag.import_errors
    run = bag.dags[dag_id].test(run_conf=json.loads(conf))
    tasks = {f"{ti.task_id}[{ti.map_index}]": str(ti.state) for ti in run.get_task_instances()}
    last = {ti.task_id: ti.xcom_pull(task_ids=ti.task_id) for ti in run.get_task_instances() if ti.task_id in ("publish", "export")}
    print(json.dumps({"state": str(run.state), "tasks": tasks, **last}))


if __name__ == "__main__":
    main(*sys.argv[1:])
