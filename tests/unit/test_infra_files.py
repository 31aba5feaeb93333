"""Deployment files: what can be known of them without a container engine or a cluster."""

import importlib.util
import json
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet
from dask.utils import parse_bytes
from pre_commit.clientlib import load_config

from samplemix_core.local import dask_cluster
from samplemix_core.settings import CORPUS_PLACES, ENVIRONMENT, EXPORT_PLACES

REPOSITORY = Path(__file__).parents[2]
INFRA = REPOSITORY / "infra"
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}
DOCUMENTS = {
    path.name: document
    for path in sorted((INFRA / "kubernetes").glob("*.yaml"))
    if path.name != "airflow-values.yaml"
    for document in yaml.safe_load_all(path.read_text())
}
VALUES = yaml.safe_load((INFRA / "kubernetes/airflow-values.yaml").read_text())
AIRFLOW_OPTIONS = {
    section: set(content["options"])
    for section, content in yaml.safe_load(files("airflow.config_templates").joinpath("config.yml").read_text()).items()
}
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}")
SECRET_NAME = re.compile(r"(PASSWORD|SECRET|KEY|TOKEN)(_|$)")


def load_script(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def strings(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)
    elif isinstance(node, str):
        yield node


def with_defaults(text: str) -> str:
    """The text as it is where only the required variables are set, each to a word in angle brackets."""
    return REFERENCE.sub(lambda match: match["rest"] if match["kind"] == ":-" else f"<{match['name']}>", text)


def is_pinned(image: str) -> bool:
    _, separator, tag = image.rsplit("/", 1)[-1].partition(":")
    return bool(separator) and any(character.isdigit() for character in tag) and "latest" not in tag


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", with_defaults(port))


def test_what_runs_the_code_of_whoever_reaches_it_is_not_published() -> None:
    assert "8786" not in [port.rsplit(":", 1)[1] for service in SERVICES.values() for port in service.get("ports", [])]


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert is_pinned(with_defaults(SERVICES[name]["image"]))
    if "build" in SERVICES[name]:
        assert (REPOSITORY / SERVICES[name]["build"]["dockerfile"]).is_file()
        assert is_pinned(with_defaults(SERVICES[name]["build"]["args"]["BASE_IMAGE"]))


@pytest.mark.parametrize("name", SERVICES)
def test_services_run_without_privileges(name: str) -> None:
    service = SERVICES[name]
    user, _, _ = service["user"].partition(":")
    assert int(user) > 0
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_restarts_and_is_checked_or_runs_once(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert "healthcheck" not in service
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"][0] == "CMD"
        assert {"interval", "timeout", "retries", "start_period"} <= set(service["healthcheck"])


@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_those_they_need(name: str) -> None:
    for needed, rule in SERVICES[name].get("depends_on", {}).items():
        assert rule == {"condition": "service_completed_successfully" if needed in ONE_SHOT else "service_healthy"}
        assert needed in SERVICES
        assert "profiles" not in SERVICES[needed]


def test_services_can_start_in_some_order() -> None:
    started: set[str] = set()
    for _ in SERVICES:
        started |= {name for name, service in SERVICES.items() if set(service.get("depends_on", {})) <= started}
    assert started == set(SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_required_variables_never_text(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        for password in re.findall(r"://[^:/@]+:([^@]+)@", value):
            assert re.fullmatch(REFERENCE, password)
        if SECRET_NAME.search(variable) and not variable.endswith("_FILE"):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), variable


def test_the_written_env_has_every_required_variable_and_no_other(tmp_path: Path) -> None:
    new_env = load_script(INFRA / "new_env.py")
    new_env.main(tmp_path / ".env")
    written = dict(line.split("=", 1) for line in (tmp_path / ".env").read_text().splitlines())
    required = {match["name"] for text in strings(SERVICES) for match in REFERENCE.finditer(text) if match["kind"] == ":?"}
    assert set(written) == required
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert len(set(written.values())) == len(written)
    assert len(written["SAMPLEMIX_AIRFLOW_JWT_SECRET"]) >= 64
    Fernet(written.pop("SAMPLEMIX_AIRFLOW_FERNET_KEY"))
    assert all(value.isalnum() for value in written.values()), "they go into URLs as they are"
    before = (tmp_path / ".env").read_text()
    with pytest.raises(SystemExit, match="left as it is"):
        new_env.main(tmp_path / ".env")
    assert (tmp_path / ".env").read_text() == before


def test_variables_without_a_default_are_required() -> None:
    assert not [match[0] for text in strings(COMPOSE) for match in REFERENCE.finditer(text) if match["kind"] is None]


@pytest.mark.parametrize("name", SERVICES)
def test_settings_have_the_names_that_the_code_reads(name: str) -> None:
    own = {variable for variable in SERVICES[name].get("environment", {}) if variable.startswith(("SAMPLEMIX_", "AWS_"))}
    if name != "postgres":
        assert own <= {*ENVIRONMENT.values(), CORPUS_PLACES, EXPORT_PLACES}


@pytest.mark.parametrize("name", SERVICES)
def test_mounted_files_and_volumes_are_there(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        source = mount.split(":")[0]
        assert source in COMPOSE["volumes"] or (REPOSITORY / source).is_file()


def airflow_variables() -> list[tuple[str, str]]:
    names = {variable for service in SERVICES.values() for variable in service.get("environment", {})}
    pairs = [tuple(name.lower().split("__")[1:]) for name in names if name.startswith("AIRFLOW__")]
    dockerfile = re.findall(r"AIRFLOW__(\w+?)__(\w+)=", (INFRA / "images/Dockerfile").read_text())
    chart = [(section, option) for section, options in VALUES["config"].items() for option in options]
    return sorted({(section.lower(), option.lower()) for section, option in [*pairs, *dockerfile, *chart]})


@pytest.mark.parametrize(("section", "option"), airflow_variables())
def test_airflow_knows_every_option(section: str, option: str) -> None:
    assert option in AIRFLOW_OPTIONS[section]


def test_gpu_workers_declare_the_resource_that_embedding_asks_for() -> None:
    compose = SERVICES["dask-gpu-worker"]
    kubernetes = DOCUMENTS["dask-gpu-workers.yaml"]["spec"]["worker"]["spec"]["containers"][0]
    assert compose["profiles"] == ["gpu"]
    assert compose["deploy"]["resources"]["reservations"]["devices"] == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert kubernetes["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "--resources=GPU=1" in compose["command"]
    assert "--resources=GPU=1" in kubernetes["args"]


def option_of(words: list[str], name: str) -> str:
    (value,) = (with_defaults(word).partition("=")[2] for word in words if word.startswith(f"--{name}="))
    return value


def test_workers_are_told_their_memory() -> None:
    """Dask's own guess is the limit times a core's share of the node's cores: 256 MiB of 4 GiB on 16, too little to start in."""
    for name in ("dask-worker", "dask-gpu-worker"):
        assert parse_bytes(option_of(SERVICES[name]["command"], "memory-limit")) >= dask_cluster.LEAST_WORKER_MEMORY
    for _, pod in pods()[1:]:
        (container,) = pod["containers"]
        memory = parse_bytes(option_of(container["args"], "memory-limit"))
        limit = parse_bytes(container["resources"]["limits"]["memory"].replace("Gi", "GiB"))
        # Dask ends a worker at its limit by itself; the pod's is above, for the nanny beside it.
        assert dask_cluster.LEAST_WORKER_MEMORY <= memory <= limit - 300 * 2**20


def test_the_image_copies_files_that_are_there_and_does_not_run_as_root() -> None:
    dockerfile = (INFRA / "images/Dockerfile").read_text()
    instructions = [line.split() for line in dockerfile.splitlines() if re.match(r"[A-Z]+ ", line)]
    copied = [
        word for line in instructions if line[0] == "COPY" and "--from=build" not in line for word in line[1:-1] if word[0] != "-"
    ]
    kept = {line[1:] for line in (INFRA / "images/Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in copied:
        assert any(source == path or source.startswith(path + "/") for path in kept), f"{source} is ignored"
        assert source == "README.md" or list(REPOSITORY.glob(source)), f"{source} is missing"
    assert [line[1] for line in instructions if line[0] == "USER"] == ["10001:0"]
    assert all(
        is_pinned(line[1].partition("=")[2]) for line in instructions if line[:1] == ["ARG"] and line[1].startswith("BASE_IMAGE")
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_kubernetes_objects_are_complete_and_hold_no_secret(name: str) -> None:
    document = DOCUMENTS[name]
    assert document["apiVersion"]
    assert document["kind"] not in {"", "Secret"}
    if document["kind"] != "Kustomization":
        assert document["metadata"]["name"]
    if document["kind"] == "ConfigMap":
        assert set(document["data"]) <= set(ENVIRONMENT.values())
        assert not [key for key in document["data"] if SECRET_NAME.search(key) or key.endswith("DATABASE_URL")]


def pods() -> list[tuple[str, dict[str, Any]]]:
    cluster = DOCUMENTS["dask-cluster.yaml"]["spec"]
    gpu = DOCUMENTS["dask-gpu-workers.yaml"]["spec"]
    return [("scheduler", cluster["scheduler"]["spec"]), ("worker", cluster["worker"]["spec"]), ("gpu", gpu["worker"]["spec"])]


@pytest.mark.parametrize(("name", "pod"), pods())
def test_pods_run_without_privileges_and_within_limits(name: str, pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert is_pinned(container["image"])
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        probe = container["livenessProbe"]["httpGet"]
        assert probe["port"] in [port["name"] for port in container["ports"]]
        assert not [variable for variable in container.get("env", []) if SECRET_NAME.search(variable["name"])]


def test_kubernetes_objects_refer_to_each_other() -> None:
    kustomization, settings, cluster = (DOCUMENTS[f"{name}.yaml"] for name in ("kustomization", "settings", "dask-cluster"))
    assert all((INFRA / "kubernetes" / resource).is_file() for resource in kustomization["resources"])
    assert kustomization["images"][0]["name"] == cluster["spec"]["worker"]["spec"]["containers"][0]["image"].split(":")[0]
    assert DOCUMENTS["dask-gpu-workers.yaml"]["spec"]["cluster"] == cluster["metadata"]["name"]
    scheduler = f"tcp://{cluster['metadata']['name']}-scheduler.{cluster['metadata']['namespace']}.svc:8786"
    assert settings["data"]["SAMPLEMIX_DASK_SCHEDULER"] == scheduler
    references = [source for _, pod in pods() for container in pod["containers"] for source in container.get("envFrom", [])]
    references += yaml.safe_load(VALUES["extraEnvFrom"])
    assert {reference["configMapRef"]["name"] for reference in references if "configMapRef" in reference} == {
        settings["metadata"]["name"]
    }
    assert {reference["secretRef"]["name"] for reference in references if "secretRef" in reference} == {"samplemix-credentials"}


def test_chart_values_name_secrets_and_hold_none() -> None:
    readme = (INFRA / "README.md").read_text()
    names = [
        VALUES["data"]["metadataSecretName"],
        *(VALUES[key] for key in VALUES if key.endswith("SecretName") or key == "jwtSecretName"),
    ]
    assert len(names) == 4
    assert all(f"`{name}`" in readme for name in names)
    assert not {"fernetKey", "apiSecretKey", "jwtSecret", "webserverSecretKey"} & set(VALUES)
    assert "metadataConnection" not in VALUES["data"]
    assert is_pinned(f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}")


def test_airflow_is_the_locked_one() -> None:
    assert f"apache-airflow=={VALUES['airflowVersion']}\n" in (REPOSITORY / "requirements.lock").read_text()


def test_hooks_need_no_network() -> None:
    path = REPOSITORY / ".pre-commit-config.yaml"
    load_config(str(path))
    repositories = yaml.safe_load(path.read_text())["repos"]
    assert [repository["repo"] for repository in repositories] == ["local"]
    hooks = repositories[0]["hooks"]
    assert {hook["id"]: hook["language"] for hook in hooks} == {"ruff-check": "system", "ruff-format": "system", "mypy": "system"}
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)


def test_the_licence_is_the_declared_one() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert text.lstrip().startswith("Apache License\n                           Version 2.0, January 2004")
    assert "END OF TERMS AND CONDITIONS" in text


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        report = {"metadatabase": {"status": "healthy"}, "scheduler": {"status": "unhealthy"}, "triggerer": None}
        body = json.dumps(report).encode() if self.path == "/health" else b"ok"
        self.send_response(500 if self.path == "/broken" else 200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def health_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("path", "parts", "healthy"),
    [
        ("/plain", [], True),
        ("/health", ["metadatabase"], True),
        ("/health", ["metadatabase", "scheduler"], False),
        ("/health", ["triggerer"], False),
        ("/health", ["dag_processor"], False),
        ("/broken", [], False),
    ],
)
def test_the_image_s_health_check_tells_healthy_from_not(health_url: str, path: str, parts: list[str], healthy: bool) -> None:
    command = [sys.executable, str(INFRA / "images/healthcheck.py"), health_url + path, *parts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is healthy
    assert bool(done.stderr) is not healthy


def test_the_image_s_health_check_fails_where_nothing_listens() -> None:
    command = [sys.executable, str(INFRA / "images/healthcheck.py"), "http://127.0.0.1:1/health"]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
