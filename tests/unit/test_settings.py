"""Where services and shipped files are found."""

from pathlib import Path

import pytest

from samplemix_core.errors import ConfigError
from samplemix_core.settings import SHIPPED, shipped_directory


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_found_and_can_be_another(tmp_path: Path, name: str) -> None:
    variable, file = SHIPPED[name]
    assert (shipped_directory(name, {}) / file).is_file()
    with pytest.raises(ConfigError, match=f"There is no {file} in {tmp_path}.*Set {variable}"):
        shipped_directory(name, {variable: str(tmp_path)})
    (tmp_path / file).touch()
    assert shipped_directory(name, {variable: str(tmp_path)}) == tmp_path
