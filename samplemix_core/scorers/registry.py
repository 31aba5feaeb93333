"""All kinds of scorers, and a stored specification as one of them."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import samplemix_core.scorers
from samplemix_core.errors import ConfigError, ModelError
from samplemix_core.frozen import load_config
from samplemix_core.scorers.scorer import KINDS, SAME_VERSION, ScorerSpec

for _module in iter_modules(samplemix_core.scorers.__path__, f"{samplemix_core.scorers.__name__}."):
    if _module.name != __name__:
        import_module(_module.name)


def read_spec(name: str, spec: Mapping[str, Any]) -> ScorerSpec:
    """The stored specification of a quality model called `name`; raise ModelError if its kind is unknown or it can't be read."""
    kind = KINDS.get(str(spec.get("kind")))
    if kind is None:
        raise ModelError(
            f"The quality model {name} is of the kind {spec.get('kind')!r}, which this version does not know.", SAME_VERSION
        )
    try:
        return load_config(kind, dict(spec), f"specification of quality model {name}")
    except ConfigError as error:
        raise ModelError(error.what, SAME_VERSION) from error
