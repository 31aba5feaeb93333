"""Environments of other projects' packages, beside this one's: pinned, without their dependencies, made once and kept in /tmp."""

import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from samplemix_core.identity import fingerprint


def peers(name: str, packages: Sequence[str]) -> Path:
    """The Python of an environment that has these packages, and those of this environment that they need."""
    environment = Path(tempfile.gettempdir()) / f"samplemix-{name}-{fingerprint(sorted(packages))[:12]}"
    python = environment / "bin" / "python"
    if not (environment / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", *packages]
        subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        place = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        (Path(place) / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (environment / "made").touch()
    return python
