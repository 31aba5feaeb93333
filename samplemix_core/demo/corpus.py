"""A real corpus from the machine itself, in domains of uneven size, length and quality, with the duplicates such files have.

Nothing is downloaded, and no package is imported. The same machine and environment give the same bytes.
"""

import ast
import gzip
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from samplemix_core.corpus.streams import zstd
from samplemix_core.demo.machine_files import (
    MachineFile,
    Package,
    Places,
    documentation_files,
    installed_packages,
    manual_pages,
    package_files,
    render_roff,
    standard_library_files,
)
from samplemix_core.errors import CorpusError

MIN_CHARACTERS, MAX_CHARACTERS = 50, 8_000
MAX_FILE_BYTES = 80_000
MIN_DOMAINS = 4
DOCUMENTS_PER_SHARD = 500
ZSTD_LEVEL = 6

_LICENCE = re.compile(r"licen[cs]e|copying|copyright|notice", re.IGNORECASE)
_CHANGELOG = re.compile(r"change|news|history", re.IGNORECASE)
_PROSE_SUFFIXES = {".md", ".rst", ".txt"}
_LICENCE_SUFFIXES = {"", *_PROSE_SUFFIXES}
_NATIVE_SUFFIXES = {".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".pyx"}
_NOT_PROSE = {"top_level.txt", "entry_points.txt", "requirements.txt", "SOURCES.txt", "dependency_links.txt"}

Extract = Callable[[str], tuple[str, str]]
"""Text of a file -> which part of it makes the document ("" for the whole), and the document's text."""


@dataclass(frozen=True)
class Document:
    """A document of the corpus: its text, and the file and part of the file that it comes from."""

    origin: MachineFile
    part: str
    text: str

    def json_line(self, domain: str) -> bytes:
        """The record of a shard, with its line break."""
        identity = f"{domain}/{self.origin.name}#{self.part}" if self.part else f"{domain}/{self.origin.name}"
        meta = {"source": self.origin.source}
        if self.origin.licence:
            meta["licence"] = self.origin.licence
        return json.dumps({"id": identity, "text": self.text, "meta": meta}, ensure_ascii=False).encode() + b"\n"


def collect(
    directory: Path, snapshot: str = "demo-1", target_documents: int = 3_000, places: Places | None = None
) -> dict[str, int]:
    """Write the corpus as <directory>/<snapshot>/<domain>/part-NNNNN.jsonl.zst; return the number of documents by domain.

    A scarce domain gives what it has; the plentiful ones, docstrings and code, fill up to the target. Shards of an earlier
    collection that this one does not write are removed. Raises CorpusError if the machine offers fewer than four domains.
    """
    domains = _take(_supplies(places or Places()), target_documents)
    if len(domains) < MIN_DOMAINS:
        raise CorpusError(
            f"This machine has documents of {len(domains)} domains ({', '.join(domains) or 'none'}); the demo needs {MIN_DOMAINS}.",
            "Install the platform with its requirements into a virtual environment, or run it over a corpus of your own.",
        )
    root = directory / snapshot
    written = {path for domain, documents in domains.items() for path in _write_shards(root / domain, domain, documents)}
    for path in sorted(root.glob("*/part-*.jsonl.zst")):
        if path not in written:
            path.unlink()
    return {domain: len(documents) for domain, documents in domains.items()}


def _supplies(places: Places) -> list[tuple[str, float, Iterator[Document]]]:
    """Domain, share of the corpus to aim at, and its documents in order; scarce domains first."""
    packages = list(installed_packages(places.packages))
    files = [*package_files(packages), *standard_library_files(places.standard_library)]
    documentation = list(documentation_files(places.doc))
    python = [file for file in files if file.path.suffix == ".py"]
    licences = [
        file for file in (*files, *documentation) if _LICENCE.match(file.path.name) and file.path.suffix in _LICENCE_SUFFIXES
    ]
    prose = [
        file
        for file in files
        if file.path.suffix in _PROSE_SUFFIXES and file.path.name not in _NOT_PROSE and not _LICENCE.search(file.name)
    ]
    changelogs = [file for file in documentation if _CHANGELOG.match(file.path.name)]
    native = [file for file in files if file.path.suffix in _NATIVE_SUFFIXES]
    return [
        ("packages", 0.10, _descriptions(packages)),
        ("docs", 0.08, _documents(prose, _whole)),
        ("changelogs", 0.06, _documents(changelogs, _whole)),
        ("manpages", 0.12, _documents(manual_pages(places.man), _rendered)),
        ("licences", 0.14, _documents(licences, _whole)),
        ("native", 0.10, _documents(native, _whole)),
        # A module gives its docstring or its code, never both, so that the two domains don't repeat each other.
        ("docstrings", 0.16, _documents((file for file in python if file.digest[-1] % 2), _longest_docstring)),
        ("code", 0.24, _documents((file for file in python if not file.digest[-1] % 2), _longest_definition)),
    ]


def _take(supplies: list[tuple[str, float, Iterator[Document]]], target: int) -> dict[str, list[Document]]:
    """Documents by domain; what a domain can't give of its share passes on to those after it."""
    domains: dict[str, list[Document]] = {}
    missing, share_left = target, sum(share for _, share, _ in supplies)
    for domain, share, documents in supplies:
        taken = list(islice(documents, round(missing * share / share_left)))
        missing -= len(taken)
        share_left -= share
        if taken:
            domains[domain] = taken
    return domains


def _documents(files: Iterable[MachineFile], extract: Extract) -> Iterator[Document]:
    """The documents of files, spread over their sources: the first file of each, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for file in sorted(files, key=lambda file: (file.digest, file.name, file.source)):
        ranked.append((seen[file.source], file))
        seen[file.source] += 1
    for _, file in sorted(ranked, key=lambda item: item[0]):
        content = _read_text(file.path)
        if content is not None:
            part, text = extract(content)
            yield from _document(file, part, text)


def _descriptions(packages: Iterable[Package]) -> Iterator[Document]:
    """The long descriptions of installed packages."""
    described = [
        (MachineFile(package.root, package.name, package.source, package.licence), package.description) for package in packages
    ]
    for origin, description in sorted(described, key=lambda item: (item[0].digest, item[0].source)):
        yield from _document(origin, "", description)


def _document(origin: MachineFile, part: str, text: str) -> Iterator[Document]:
    """The document, unless its text is too short to be one."""
    text = cut_at_boundary(text.replace("\r\n", "\n").replace("\0", "").strip())
    if len(text) >= MIN_CHARACTERS:
        yield Document(origin, part, text)


def cut_at_boundary(text: str) -> str:
    """At most MAX_CHARACTERS of a text, up to a blank line, else a line break, else a space in the second half of them."""
    if len(text) <= MAX_CHARACTERS:
        return text
    for boundary in ("\n\n", "\n", " "):
        end = text.rfind(boundary, MAX_CHARACTERS // 2, MAX_CHARACTERS)
        if end >= 0:
            return text[:end].rstrip()
    return text[:MAX_CHARACTERS]


def _read_text(path: Path) -> str | None:
    """The text of a plain or gzip file; None for a file that is very long, not UTF-8, or can't be read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            return None
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, UnicodeDecodeError):
        return None


def _whole(text: str) -> tuple[str, str]:
    return "", text


def _rendered(text: str) -> tuple[str, str]:
    return "", render_roff(text)


def _parse(source: str) -> ast.Module:
    """The module's syntax tree, an empty one if it isn't valid Python (templates, old syntax)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Bad escapes in other people's sources.
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError):
            return ast.Module(body=[], type_ignores=[])


def _definitions(body: Iterable[ast.stmt]) -> list[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]


def _longest_definition(source: str) -> tuple[str, str]:
    """Name and source of a module's longest class or function, decorators included."""
    definitions = _definitions(_parse(source).body)
    if not definitions:
        return "", ""
    longest = max(definitions, key=lambda node: (node.end_lineno or 0) - node.lineno)
    first = min(node.lineno for node in (longest, *longest.decorator_list))
    return longest.name, "\n".join(source.split("\n")[first - 1 : longest.end_lineno])


def _longest_docstring(source: str) -> tuple[str, str]:
    """Name of the owner ("" for the module) and text of the longest docstring of a module, its functions, classes, and methods."""
    tree = _parse(source)
    outer = _definitions(tree.body)
    inner = [member for node in outer if isinstance(node, ast.ClassDef) for member in _definitions(node.body)]
    found = [("", ast.get_docstring(tree) or "")] + [(node.name, ast.get_docstring(node) or "") for node in (*outer, *inner)]
    return max(found, key=lambda item: len(item[1]))


def _write_shards(directory: Path, domain: str, documents: list[Document]) -> list[Path]:
    """Write documents in shards of nearly equal size, at most DOCUMENTS_PER_SHARD each; return the shards' paths."""
    directory.mkdir(parents=True, exist_ok=True)
    shards = -(-len(documents) // DOCUMENTS_PER_SHARD)
    bounds = [len(documents) * i // shards for i in range(shards + 1)]
    paths = []
    for number, (start, stop) in enumerate(pairwise(bounds)):
        lines = b"".join(document.json_line(domain) for document in documents[start:stop])
        path = directory / f"part-{number:05d}.jsonl.zst"
        setting = zstd.CompressionParameter
        options: dict[int, int] = {setting.compression_level: ZSTD_LEVEL, setting.checksum_flag: 1}
        path.write_bytes(zstd.compress(lines, options=options))
        paths.append(path)
    return paths
