"""Where services and shipped files are found."""

from pathlib import Path

import pytest

from samplemix_core.errors import ConfigError
from samplemix_core.settings import SHIPPED, Settings, is_among, shipped_directory


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_found_and_can_be_another(tmp_path: Path, name: str) -> None:
    variable, file = SHIPPED[name]
    assert (shipped_directory(name, {}) / file).is_file()
    with pytest.raises(ConfigError, match=f"There is no {file} in {tmp_path}.*Set {variable}"):
        shipped_directory(name, {variable: str(tmp_path)})
    (tmp_path / file).touch()
    assert shipped_directory(name, {variable: str(tmp_path)}) == tmp_path


@pytest.mark.parametrize(
    ("allowed", "place", "may"),
    [
        (None, "s3://bucket/corpus", True),
        (None, "/etc", False),
        (None, "file:///etc", False),
        ("s3://crawls/web", "s3://crawls/web", True),
        ("s3://crawls/web", "s3://crawls/web/2024", True),
        ("s3://crawls/web", "s3://crawls/website", False),
        ("s3://crawls/web", "s3://crawls/web/../private", False),
        ("s3://, {0}/data", "{0}/data/corpus", True),
        ("s3://, {0}/data", "{0}/data", True),
        ("s3://, {0}/data", "{0}/database", False),
        ("s3://, {0}/data", "{0}/data/../private", False),
        ("s3://, {0}/data", "{0}/data/link", False),
        ("file://{0}/data", "file://{0}/data/corpus", True),
        ("{0}/data", "file://{0}/data/corpus", True),
        ("file://{0}/data", "file://{0}/data/%2e%2e/private", False),
        ("file://{0}/data", "file://{0}/data/link", False),
        ("s3://a/b", "s3://a/b/.\t./c", False),
        ("", "s3://bucket/corpus", False),
    ],
)
def test_a_form_names_places_only_where_they_may_be(tmp_path: Path, allowed: str | None, place: str, may: bool) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "private").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "private")
    for name in ("corpus_places", "export_places"):
        environ = {} if allowed is None else {f"SAMPLEMIX_{name.upper()}": allowed.format(tmp_path)}
        places = getattr(Settings.load({"SAMPLEMIX_HOME": str(tmp_path), **environ}), name)
        assert is_among(place.format(tmp_path), places) is may
