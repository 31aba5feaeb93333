import json
from pathlib import Path

import pytest

from samplemix_core.demo.machine_files import (
    Places,
    documentation_files,
    installed_packages,
    manual_pages,
    package_files,
    standard_library_files,
)


def install(site: Path, name: str, files: dict[str, str], metadata: str = "", direct_url: dict[str, object] | None = None) -> None:
    info = f"{name}-1.0.dist-info"
    contents = files | {f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{metadata}"}
    if direct_url is not None:
        contents[f"{info}/direct_url.json"] = json.dumps(direct_url)
    record = "".join(f"{path},sha256=x,1\n" for path in contents) + f"{info}/RECORD,,\n"
    for path, content in (contents | {f"{info}/RECORD": record}).items():
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)


def listed(site: Path) -> list[str]:
    return sorted(file.name for file in package_files(installed_packages([site])))


def test_a_package_has_the_files_its_record_lists_and_no_others(tmp_path: Path) -> None:
    install(
        tmp_path,
        "alpha",
        {"alpha/core.py": "x = 1\n", "alpha/__pycache__/core.cpython-311.pyc": "", "alpha/tests/test_core.py": ""},
    )
    (tmp_path / "alpha/left_by_a_run.py").write_text("y = 2\n")
    assert [name for name in listed(tmp_path) if not name.startswith("alpha-")] == ["alpha/core.py"]


def test_files_outside_the_installation_directory_are_left_out(tmp_path: Path) -> None:
    install(tmp_path / "site", "alpha", {"../bin/alpha": "#!/bin/sh\n", "alpha.py": "x = 1\n"})
    assert "alpha.py" in listed(tmp_path / "site")
    assert not [name for name in listed(tmp_path / "site") if name.startswith("..")]


@pytest.mark.parametrize(
    ("name", "direct_url"),
    [("samplemix", None), ("work-in-progress", {"url": "file:///somewhere", "dir_info": {"editable": True}})],
)
def test_samplemix_and_editable_installs_are_left_out(tmp_path: Path, name: str, direct_url: dict[str, object] | None) -> None:
    install(tmp_path, name, {"module.py": "x = 1\n"}, direct_url=direct_url)
    assert listed(tmp_path) == []


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT\nLicense: something else\n", "MIT"),
        ("License: Apache 2.0\n", "Apache 2.0"),
        (
            "License: " + "all the words of the licence " * 10 + "\nClassifier: License :: OSI Approved :: BSD License\n",
            "BSD License",
        ),
        ("Classifier: Topic :: Text Processing\n", None),
    ],
)
def test_the_licence_is_a_short_name_or_none(tmp_path: Path, metadata: str, licence: str | None) -> None:
    install(tmp_path, "alpha", {}, metadata)
    (package,) = installed_packages([tmp_path])
    assert package.licence == licence
    assert package.source == "alpha 1.0"


def test_the_description_comes_from_the_body_or_the_header(tmp_path: Path) -> None:
    install(tmp_path, "body", {}, "\nA description\nin the body.\n")
    install(tmp_path, "header", {}, "Description: A description\n        in the header.\n")
    descriptions = {package.name: package.description.strip() for package in installed_packages([tmp_path])}
    assert descriptions == {"body": "A description\nin the body.", "header": "A description\nin the header."}


def test_standard_library_modules_are_their_own_sources(tmp_path: Path) -> None:
    for name in (
        "json/decoder.py",
        "json/encoder.py",
        "ast.py",
        "test/test_ast.py",
        "site-packages/alpha.py",
        "_sysconfigdata__linux_.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    files = {file.name: file.source.split(" ", 2)[2] for file in standard_library_files(tmp_path)}
    assert files == {"stdlib/json/decoder.py": "json", "stdlib/json/encoder.py": "json", "stdlib/ast.py": "ast"}


def test_links_and_translations_are_left_out(tmp_path: Path) -> None:
    for name in ("man1/ls.1", "man3p/open.3p", "de/man1/ls.1"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(".SH NAME\n")
    (tmp_path / "man1/dir.1").symlink_to("ls.1")
    assert {file.name: file.source for file in manual_pages(tmp_path)} == {
        "man/man1/ls.1": "manual, section 1",
        "man/man3p/open.3p": "manual, section 3p",
    }


def test_missing_system_documentation_is_no_error(tmp_path: Path) -> None:
    assert list(documentation_files(tmp_path / "doc")) == []
    assert list(manual_pages(tmp_path / "man")) == []


def test_the_default_places_are_those_of_the_running_interpreter() -> None:
    places = Places()
    assert Path(pytest.__file__).parent.parent in places.packages
    assert Path(json.__file__).parent.parent == places.standard_library
