"""Where a form may have exports written."""

from dataclasses import replace

import pytest

from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.exports.exporting import require_place


def test_a_form_names_allowed_places_and_no_corpus() -> None:
    deployment = replace(Deployment.load({"SAMPLEMIX_HOME": "/nowhere"}), export_places=("s3://bucket/exports", "/data"))
    corpora = ["s3://bucket/exports/corpus"]
    for uri in ("s3://bucket/exports/web", "/data/web", "s3://bucket/exports/corpus-2"):
        require_place(deployment, uri, corpora)
    for uri in ("s3://bucket/other", "/etc/x", "s3://bucket/exports/../other"):
        with pytest.raises(ConfigError, match="exports may go to s3://bucket/exports, /data"):
            require_place(deployment, uri, corpora)
    for uri in ("s3://bucket/exports/corpus", "s3://bucket/exports/corpus/crawl-z"):
        with pytest.raises(ConfigError, match="is in a corpus"):
            require_place(deployment, uri, corpora)
