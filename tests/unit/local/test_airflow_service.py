from pathlib import Path

from samplemix_core.local import airflow
from samplemix_core.local.home import Home, load_credentials


def test_a_task_is_taken_for_dead_after_minutes_and_a_process_for_started_after_its_imports(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    setup = airflow.Setup(home, 1, load_credentials(home), "postgresql://127.0.0.1/airflow", {})
    service = airflow.service(setup, {}, lambda process: None)
    assert len(service.programs) == 4
    for program in service.programs:
        assert program.environment["AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT"] == "120"
        assert program.start_seconds >= 60
