"""The files of this machine that make a corpus: those of installed packages, the standard library, and system documentation.

Files are named by their path below the place where they are installed, so a name does not depend on that place. Files that a
run could change are left out: caches, files not in a package's RECORD, editable installs, and SampleMix itself.
"""

import csv
import email.message
import importlib.metadata
import inspect
import json
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

OWN_DISTRIBUTION = "samplemix"
SKIPPED_DIRECTORIES = {"__pycache__", "site-packages", "dist-packages", "test", "tests"}


@dataclass(frozen=True)
class Places:
    """Where files are looked for. `man` and `doc` need not exist: they only add to what Python brings."""

    packages: tuple[Path, ...] = field(
        default_factory=lambda: tuple(sorted({Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}))
    )
    standard_library: Path = field(default_factory=lambda: Path(sysconfig.get_path("stdlib")))
    man: Path = Path("/usr/share/man")
    doc: Path = Path("/usr/share/doc")


@dataclass(frozen=True)
class MachineFile:
    """A file that documents may come from: where it is, its name anywhere, what it belongs to, and under which licence."""

    path: Path
    name: str
    source: str
    licence: str | None = None

    @property
    def digest(self) -> bytes:
        """128-bit hash of the name: an order of files that is arbitrary and the same everywhere."""
        return blake2b(self.name.encode(), digest_size=16).digest()


@dataclass(frozen=True)
class Package:
    """An installed package: what its metadata says, and the files its RECORD lists."""

    root: Path
    name: str
    version: str
    licence: str | None
    description: str
    files: tuple[str, ...]

    @property
    def source(self) -> str:
        """Name and version, as documents cite the package."""
        return f"{self.name} {self.version}"


def installed_packages(directories: Iterable[Path]) -> Iterator[Package]:
    """The packages installed in some directories, without SampleMix itself and without editable installs."""
    for distribution in importlib.metadata.distributions(path=[str(directory) for directory in directories]):
        metadata = distribution.metadata
        direct_url = json.loads(distribution.read_text("direct_url.json") or "{}")
        if metadata["Name"].lower() == OWN_DISTRIBUTION or direct_url.get("dir_info", {}).get("editable"):
            continue
        assert isinstance(metadata, email.message.Message)
        yield Package(
            root=Path(str(distribution.locate_file(""))),
            name=metadata["Name"],
            version=metadata["Version"],
            licence=_licence(metadata),
            description=_description(metadata),
            files=tuple(row[0] for row in csv.reader((distribution.read_text("RECORD") or "").splitlines())),
        )


def _licence(metadata: email.message.Message) -> str | None:
    """The licence's name; some packages put the whole licence into the field for its name."""
    name = metadata.get("License-Expression") or metadata.get("License") or ""
    if not name or len(name) > 60 or "\n" in name:
        classifiers = [line for line in metadata.get_all("Classifier") or [] if line.startswith("License ::")]
        name = classifiers[0].rsplit(" :: ", 1)[1] if classifiers else ""
    return name or None


def _description(metadata: email.message.Message) -> str:
    payload = metadata.get_payload()
    return payload if isinstance(payload, str) and payload.strip() else inspect.cleandoc(metadata.get("Description", ""))


def package_files(packages: Iterable[Package]) -> Iterator[MachineFile]:
    """The files of installed packages; files that came into their directories after the installation are left out."""
    for package in packages:
        for name in package.files:
            parts = name.split("/")
            if parts[0] not in {"", ".."} and not SKIPPED_DIRECTORIES.intersection(parts[:-1]):
                yield MachineFile(package.root / name, name, package.source, package.licence)


def standard_library_files(root: Path) -> Iterator[MachineFile]:
    """The standard library's modules; each top-level module or package is a source of its own."""
    version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    for path in root.rglob("*.py"):
        parts = path.relative_to(root).parts
        if not SKIPPED_DIRECTORIES.intersection(parts[:-1]) and not path.name.startswith("_sysconfigdata"):
            yield MachineFile(path, "stdlib/" + "/".join(parts), f"{version} {parts[0].removesuffix('.py')}", "PSF-2.0")


def documentation_files(root: Path) -> Iterator[MachineFile]:
    """The files that Debian and similar systems install below /usr/share/doc, at most two directories down."""
    for pattern in ("*/*", "*/*/*"):
        for path in root.glob(pattern):
            # A link only repeats what it points to.
            if path.is_file() and not path.is_symlink():
                yield MachineFile(path, f"doc/{path.relative_to(root)}", "system documentation")


def manual_pages(root: Path) -> Iterator[MachineFile]:
    """English manual pages; each section is a source of its own."""
    for path in root.glob("man[1-9]*/*"):
        if path.is_file() and not path.is_symlink():
            yield MachineFile(path, f"man/{path.relative_to(root)}", f"manual, section {path.parent.name.removeprefix('man')}")


_HEADINGS = {"SH", "SS", "Sh", "Ss"}
_PARAGRAPHS = {"PP", "P", "LP", "TP", "HP", "IP", "TQ", "Pp", "It", "sp", "br"}
_TEXT_MACROS = {"B", "I", "BR", "BI", "IB", "IR", "RB", "RI", "SM", "SB", "IP", "SY", "OP"}
_SPACED_MACROS = {"B", "I", "SM", "SB", "IP", "SY", "OP"}
_MDOC_TEXT = re.compile(r"(?!(?:Bd|Bl|Dd|Dt|Ed|El|Os|Sh|Ss)$)[A-Z][a-z]{1,2}$")
_AS_IS = {"nf": True, "EX": True, "fi": False, "EE": False}
_QUOTES = {"aq": "'", "oq": "'", "cq": "'", "dq": '"', "lq": '"', "rq": '"'}
_CHARACTERS = {**_QUOTES, "em": "-", "en": "-", "bu": "*", "ti": "~", "ha": "^", "rs": "\\"}

_DEFINITION = re.compile(r"[.']\s*(?:de|am|ig)\b")
_REQUEST = re.compile(r"[.']\s*(?P<name>\w*)\s*(?P<arguments>.*)$")
_ARGUMENT = re.compile(r'"([^"]*)"?|(\S+)')
_COMMENT = re.compile(r"\\[\"#].*$")
_FONT_OR_SIZE = re.compile(r"\\[fm](?:\[[^\]]*\]|\(..|.)|\\s[-+]?\d+|\\\*(?:\[[^\]]*\]|\(..|.)")
_SPECIAL = re.compile(r"\\\((?P<two>..)|\\\[(?P<long>[^\]]*)\]")
_UNPRINTED = re.compile(r"\\[&|^%/,:cz)]")


def render_roff(source: str) -> str:
    """The words of a man or mdoc page: headings and paragraphs on lines of their own, fonts and layout dropped."""
    blocks: list[str] = [""]
    in_definition = as_is = False
    for line in source.splitlines():
        if in_definition:
            in_definition = line.strip() not in {"..", "'.."}
            continue
        if _DEFINITION.match(line):
            in_definition = True
            continue
        text = _plain(line)
        if request := _REQUEST.match(text):
            name = request["name"]
            as_is = _AS_IS.get(name, as_is)
            arguments = [quoted or bare for quoted, bare in _ARGUMENT.findall(request["arguments"])]
            if name in _HEADINGS:
                blocks += [" ".join(arguments) + "\n", ""]
                continue
            if name in _PARAGRAPHS or name in _AS_IS:
                blocks.append("")
            spaced = name in _SPACED_MACROS or _MDOC_TEXT.match(name)
            text = (" " if spaced else "").join(arguments) if spaced or name in _TEXT_MACROS else ""
        if text.strip():
            blocks[-1] += text + ("\n" if as_is else " ")
        elif not line.strip():
            blocks.append("")
    return "\n".join(block.rstrip() + ("\n" if not block.endswith("\n") else "") for block in blocks if block.strip()).strip()


def _plain(line: str) -> str:
    """A line without its comment, with escapes replaced by the characters they print."""
    line = _FONT_OR_SIZE.sub("", _COMMENT.sub("", line))
    line = _SPECIAL.sub(lambda match: _CHARACTERS.get(match["two"] or match["long"], ""), line)
    return _UNPRINTED.sub("", line).replace("\\-", "-").replace("\\ ", " ").replace("\\~", " ").replace("\\e", "\\")
