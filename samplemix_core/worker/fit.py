"""Fitting clusters, on the worker that has the memory and the threads for it."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.model import check_health
from samplemix_core.embedding.files import read_positions
from samplemix_core.objects.open import open_store
from samplemix_core.settings import Settings
from samplemix_core.worker.jobs import FitResult, FitTask

_READS_AT_ONCE = 8


def fit_model(task: FitTask) -> FitResult:
    """Fit clusters on sampled vectors and store the model; raise DiversityHealthError if a gate says they are degenerate."""
    settings = Settings.load()
    store = open_store(settings.state_root, settings)

    def read(drawn: tuple[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        with store.open(drawn[0]) as stream:
            return read_positions(stream, task.encoder_key, drawn[1])

    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        vectors = np.concatenate(list(pool.map(read, task.sample)))
    model = fit_clusters(vectors, task.diversity, task.diversity.seed, encoder_id=task.encoder_key)
    check_health(model, task.diversity)
    key = f"clusters/{model.digest}.safetensors"
    store.put(key, model.to_bytes())
    return FitResult(key, model.digest, model.n_clusters, len(vectors), model.noise_share, model.largest_share)
