import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.corpus.streams import zstd
from samplemix_core.demo import corpus
from samplemix_core.demo.corpus import MAX_CHARACTERS, MIN_CHARACTERS, collect
from samplemix_core.demo.machine_files import Places
from samplemix_core.errors import CorpusError

LICENCE = "Permission is hereby granted, free of charge, to any person obtaining a copy of this software.\n"
PACKAGES = ("alpha", "beta", "gamma")


def module(package: str, number: int) -> str:
    owner = f"{package}{number}"
    return (
        f'"""What the module {owner} is for, in one sentence of a fitting length."""\nraise SystemExit("imported")\n\n\n'
        f'@decorated\ndef weigh_{owner}(samples):\n    """Weigh."""\n    return [sample.weight * {number} for sample in samples]\n'
    )


def machine(root: Path, *, reverse: bool = False) -> Places:
    """A small machine: three packages, a standard library, manual pages and documentation, written in either order."""
    site, library, man, doc = (root / name for name in ("site", "library", "man", "doc"))
    contents: dict[Path, bytes] = {
        man / "man1/weigh.1.gz": gzip.compress(b".SH NAME\nweigh - print the weight of every sample of a corpus, in order\n"),
        man / "man1/broken.1.gz": b"\x1f\x8bnot gzip at all",
        doc / "tool/changelog.gz": gzip.compress(b"tool (1.2)\n  * Weigh samples by their quality and their diversity.\n", mtime=0),
        doc / "tool/copyright": LICENCE.encode(),
        library / "scale.py": module("scale", 0).encode(),
    }
    for package in PACKAGES:
        files = {f"{package}/part{i}.py": module(package, i) for i in range(40)}
        files |= {f"{package}/LICENSE": LICENCE, f"{package}/guide.md": f"# {package}\n\n" + "How samples are weighed. " * 1000}
        files |= {f"{package}/weigh.h": f"/* {package} */\n" + "double weigh(const struct sample *samples, long n);\n" * 3}
        files |= {f"{package}/bad.py": "def broken(:\n" * 20}
        info = f"{package}-1.0.dist-info"
        files[f"{info}/METADATA"] = (
            f"Name: {package}\nVersion: 1.0\nLicense: MIT\n\n{package} weighs every sample of a corpus before it is mixed.\n"
        )
        files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in sorted(files, reverse=reverse))
        contents |= {site / name: text.encode() for name, text in files.items()}
        contents[site / package / "latin.md"] = b"caf\xe9 " * 50
    for path in sorted(contents, reverse=reverse):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents[path])
    return Places(packages=(site,), standard_library=library, man=man, doc=doc)


def read(directory: Path) -> dict[str, list[dict[str, object]]]:
    domains: dict[str, list[dict[str, object]]] = {}
    for path in sorted(directory.glob("demo-1/*/part-*.jsonl.zst")):
        lines = zstd.decompress(path.read_bytes()).decode().split("\n")
        assert lines.pop() == ""
        domains.setdefault(path.parent.name, []).extend(json.loads(line) for line in lines)
    return domains


def shards(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in sorted(directory.rglob("*.zst"))}


def test_the_same_files_give_the_same_bytes_wherever_and_in_whatever_order_they_were_written(tmp_path: Path) -> None:
    for name, reverse in (("one", False), ("two", True)):
        collect(tmp_path / name / "corpus", target_documents=100, places=machine(tmp_path / name, reverse=reverse))
    assert shards(tmp_path / "one/corpus") == shards(tmp_path / "two/corpus")
    assert len(shards(tmp_path / "one/corpus")) == 8


def test_every_domain_holds_its_kind_of_document(tmp_path: Path) -> None:
    counts = collect(tmp_path / "corpus", target_documents=100, places=machine(tmp_path))
    domains = read(tmp_path / "corpus")
    assert counts == {domain: len(documents) for domain, documents in domains.items()}
    assert sum(counts.values()) == 100
    texts = {domain: {str(document["text"]) for document in documents} for domain, documents in domains.items()}
    assert texts["packages"] == {f"{package} weighs every sample of a corpus before it is mixed." for package in PACKAGES}
    assert texts["licences"] == {LICENCE.strip()}
    assert texts["manpages"] == {"NAME\nweigh - print the weight of every sample of a corpus, in order"}
    assert all(text.startswith("tool (1.2)") for text in texts["changelogs"])
    assert all("double weigh" in text for text in texts["native"])
    assert all(text.startswith("@decorated\ndef weigh_") for text in texts["code"])
    assert all(text.startswith("What the module") for text in texts["docstrings"])
    assert len(domains["licences"]) == 4, "copies of one licence are the corpus's natural duplicates"


def test_a_module_gives_its_code_or_its_docstring_never_both(tmp_path: Path) -> None:
    collect(tmp_path / "corpus", target_documents=1_000, places=machine(tmp_path))
    domains = read(tmp_path / "corpus")
    modules = {
        domain: {str(document["id"]).split("/", 1)[1].split("#")[0] for document in domains[domain]}
        for domain in ("code", "docstrings")
    }
    assert modules["code"].isdisjoint(modules["docstrings"])
    assert len(modules["code"] | modules["docstrings"]) == 121, "all modules that parse"


def test_documents_say_where_they_come_from_and_are_of_bounded_length(tmp_path: Path) -> None:
    collect(tmp_path / "corpus", target_documents=200, places=machine(tmp_path))
    documents = [document for documents in read(tmp_path / "corpus").values() for document in documents]
    assert all(MIN_CHARACTERS <= len(str(document["text"])) <= MAX_CHARACTERS for document in documents)
    assert len({document["id"] for document in documents}) == len(documents)
    origins = {str(document["id"]): document["meta"] for document in documents}
    assert origins["licences/alpha/LICENSE"] == {"source": "alpha 1.0", "licence": "MIT"}
    assert origins["licences/doc/tool/copyright"] == {"source": "system documentation"}


def test_few_documents_are_spread_over_the_sources(tmp_path: Path) -> None:
    collect(tmp_path / "corpus", target_documents=20, places=machine(tmp_path))
    documents = read(tmp_path / "corpus")["code"]
    sources = Counter(str(document["meta"]).split("'")[3].split()[0] for document in documents)
    assert max(sources[package] for package in PACKAGES) - min(sources[package] for package in PACKAGES) <= 1


def test_python_alone_is_enough(tmp_path: Path) -> None:
    places = machine(tmp_path)
    bare = Places(places.packages, places.standard_library, man=tmp_path / "none", doc=tmp_path / "none")
    counts = collect(tmp_path / "corpus", target_documents=100, places=bare)
    assert sum(counts.values()) == 100
    assert set(counts) == {"packages", "docs", "licences", "native", "docstrings", "code"}


def test_shards_are_of_nearly_equal_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "DOCUMENTS_PER_SHARD", 10)
    counts = collect(tmp_path / "corpus", target_documents=100, places=machine(tmp_path))
    sizes: dict[str, list[int]] = {}
    for name, content in shards(tmp_path / "corpus").items():
        sizes.setdefault(name.split("/")[1], []).append(zstd.decompress(content).count(b"\n"))
    assert {domain: sum(numbers) for domain, numbers in sizes.items()} == counts
    assert len(sizes["code"]) > 1
    assert all(max(numbers) <= 10 and max(numbers) - min(numbers) <= 1 for numbers in sizes.values())


def test_shards_of_a_larger_collection_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "DOCUMENTS_PER_SHARD", 10)
    places = machine(tmp_path)
    collect(tmp_path / "corpus", target_documents=120, places=places)
    counts = collect(tmp_path / "corpus", target_documents=30, places=places)
    assert {domain: len(documents) for domain, documents in read(tmp_path / "corpus").items()} == counts


def test_a_machine_with_too_little_is_refused(tmp_path: Path) -> None:
    places = Places(packages=(), standard_library=machine(tmp_path).standard_library, man=tmp_path / "none", doc=tmp_path / "none")
    with pytest.raises(CorpusError, match="documents of 1 domains"):
        collect(tmp_path / "corpus", places=places)
    assert not (tmp_path / "corpus").exists()


@given(st.text(alphabet=st.sampled_from("ab \n"), max_size=200), st.integers(0, MAX_CHARACTERS))
def test_a_long_text_is_cut_at_a_boundary_of_its_second_half(tail: str, filler: int) -> None:
    text = "x" * filler + tail * (1 + 2 * MAX_CHARACTERS // max(len(tail), 1))
    cut = corpus.cut_at_boundary(text)
    assert text.startswith(cut)
    assert len(cut) <= MAX_CHARACTERS
    if len(text) > MAX_CHARACTERS:
        boundary = text[len(cut)].isspace()
        assert boundary or not any(character.isspace() for character in text[MAX_CHARACTERS // 2 : MAX_CHARACTERS])


def test_this_machine_has_enough_for_a_corpus(tmp_path: Path) -> None:
    counts = collect(tmp_path, target_documents=400)
    assert sum(counts.values()) == 400
    assert {"packages", "docs", "licences", "native", "docstrings", "code"} <= set(counts)
    texts = [str(document["text"]) for document in read(tmp_path)["licences"]]
    assert len(set(texts)) < len(texts), "licences repeat by nature"
