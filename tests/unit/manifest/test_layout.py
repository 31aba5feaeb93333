import pytest

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.layout import Location, locate, mixture_prefix, version_of, version_prefix


@pytest.mark.parametrize("root", ["", "mixtures", "team/mixtures"])
@pytest.mark.parametrize("version", [1, 12, 1_000_000])
def test_a_manifests_key_says_where_it_lies(root: str, version: int) -> None:
    key = version_prefix(root, "demo", version) + "manifest.json"
    assert locate(key) == Location(root, "demo", version)
    assert version_of(key, mixture_prefix(root, "demo")) == version


def test_versions_have_six_digits_or_more() -> None:
    assert version_prefix("m", "demo", 12) == "m/demo/v000012/"
    assert version_of("m/demo/v12/manifest.json", "m/demo/") is None


def test_latest_has_no_version() -> None:
    assert locate("m/demo/latest.json") == Location("m", "demo", None)
    assert version_of("m/demo/latest.json", "m/demo/") is None


@pytest.mark.parametrize("key", ["m/demo", "manifest.json", "v000001/manifest.json", "latest.json", "m/demo/v1/manifest.json"])
def test_refuses_other_keys(key: str) -> None:
    with pytest.raises(ManifestError, match="is not the place of a manifest"):
        locate(key)
