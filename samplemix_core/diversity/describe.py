"""Clusters and documents described for people: maps on which near ones are alike, and the words that tell clusters apart."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.manifold import TSNE

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.modes import Prepared

TERMS = 6
"""Most words per cluster."""

MOST_CHARACTERS = 2_000
"""Most characters of a text that are examined."""

OWN, TRIALS = 5, 20
"""Texts of a cluster in a trial of its coherence, and trials."""

_PERPLEXITY = 30.0
_FEWEST_FOR_TSNE = 5
_WORD = r"(?u)\b[^\W\d_]{3,30}\b"
_COMMON = 0.4
"""Words in a larger share of the documents than this say nothing, in any language."""


def map_centroids(centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return positions (K, 2) between -1 and 1 for unit centroids (K, dim), K at least 1, by t-SNE of their cosine distances.

    Van der Maaten and Hinton 2008; which centroids are near each other means something, how far apart distant ones are does not. A
    handful are placed by their principal components. The same centroids get the same positions on one kind of machine.
    """
    n = centroids.shape[0]
    with np.errstate(invalid="ignore"):  # PCA divides by the variance, which equal centroids don't have.
        if n < _FEWEST_FOR_TSNE:
            places = np.zeros((n, 2))
            components = min(2, n - 1, centroids.shape[1])
            if components:
                places[:, :components] = PCA(components, svd_solver="full").fit_transform(centroids)
        else:
            perplexity = min(_PERPLEXITY, (n - 1) / 3)
            places = TSNE(2, perplexity=perplexity, metric="cosine", init="pca", random_state=0, n_jobs=1).fit_transform(centroids)
    places = places - (places.max(axis=0) + places.min(axis=0)) / 2
    return np.asarray(places / max(float(np.abs(places).max()), 1e-9), dtype=np.float32)


_MAP_NEIGHBOURS, _MAP_EPOCHS, _AGAIN_EPOCHS, _MAP_SPREAD = 15, 200, 50, 0.1


def map_documents(vectors: npt.NDArray[np.float32], known: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return positions (n, 2), about -1 to 1, for unit vectors (n, dim), by UMAP (McInnes et al. 2018), seeded.

    Those that have one before, in `known` (n, 2) with NaN for others, start from it, and others from that of the nearest such
    document: what people know of a map stays about where it was.
    """
    n = len(vectors)
    components = min(2, n - 1)
    places = np.zeros((n, 2), dtype=np.float32)
    if n <= _FEWEST_FOR_TSNE or np.unique(vectors[:10_000], axis=0).shape[0] <= _FEWEST_FOR_TSNE:
        return places
    config = DiversityConfig(umap_components=2, umap_neighbors=_MAP_NEIGHBOURS, umap_epochs=_MAP_EPOCHS)
    there = np.asarray(np.isfinite(known).all(axis=1))
    start: npt.NDArray[np.float32] | Literal["pca"] = "pca"
    is_known = int(there.sum()) > components and float(np.ptp(known[there], axis=0).min()) > _EXTENT
    if is_known:
        from samplemix_core.diversity.nearest import nearest_centroid

        start = known.copy()
        if not there.all():
            nearest, _ = nearest_centroid(vectors[~there], vectors[there])
            # Two in one place would never part.
            apart = np.random.default_rng(0).normal(scale=0.01, size=(len(nearest), 2))
            start[~there] = known[there][nearest] + apart
        config = config.model_copy(update={"umap_epochs": _AGAIN_EPOCHS})
    places[:, :components] = Prepared(vectors, config).reduced(0, start, _MAP_SPREAD)
    if is_known:
        return _turned(places, known, there)
    low, high = np.quantile(places, [0.001, 0.999], axis=0)
    return np.asarray(np.clip((places - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-9), -1.1, 1.1), dtype=np.float32)


_EXTENT = 1e-3
"""A map without more on one of its axes is none to go on from."""


def _turned(
    places: npt.NDArray[np.float32], known: npt.NDArray[np.float32], there: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Turn, scale and move places (n, 2) so that those that are known lie nearest to where they were (Procrustes)."""
    own, before = places[there].astype(np.float64), known[there].astype(np.float64)
    of_own, of_before = own.mean(axis=0), before.mean(axis=0)
    left, values, right = np.linalg.svd((own - of_own).T @ (before - of_before))
    scale = values.sum() / max(float(((own - of_own) ** 2).sum()), 1e-12)
    return np.asarray((places - of_own) @ (left @ right) * scale + of_before, dtype=np.float32)


def telling_terms(texts: Sequence[str], cluster: npt.NDArray[np.int32], n_clusters: int) -> list[list[str]]:
    """Return words of each of K clusters, most telling first, from texts (n,) of clusters (n,); none for one without texts.

    By class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794): a word's share of a cluster's words, times the logarithm of how
    much rarer it is over all clusters than the mean word. A word has 3 to 30 letters and occurs in at least two texts.
    """
    words = CountVectorizer(token_pattern=_WORD, min_df=2, max_df=_COMMON, max_features=50_000, dtype=np.int32)
    try:
        counts = words.fit_transform([text[:MOST_CHARACTERS] for text in texts])
    except ValueError:  # There is no such word.
        return [[] for _ in range(n_clusters)]
    names = words.get_feature_names_out()
    over_all = np.asarray(counts.sum(axis=0), dtype=np.float64).ravel()
    rarity = np.log1p(over_all.mean() / over_all)
    found = []
    for j in range(n_clusters):
        own = np.asarray(counts[cluster == j].sum(axis=0), dtype=np.float64).ravel()
        weight = own / max(own.sum(), 1.0) * rarity
        best = np.argsort(-weight, kind="stable")[:TERMS]
        found.append([str(names[i]) for i in best if weight[i] > 0])
    return found


def coherence(texts: Sequence[str], cluster: npt.NDArray[np.int32], n_clusters: int) -> npt.NDArray[np.float32]:
    """Return for each of K clusters how often an intruder is found by its words, from texts (n,) of clusters (n,), float32 (K,).

    In each of TRIALS, OWN texts of the cluster stand beside one of another; the intruder is found if its words (TF-IDF) have less
    in common with the rest than those of any other text. By chance, one in OWN + 1 is found. This is the intruder test of Chang et
    al. 2009 (Reading tea leaves), with words in place of people. NaN for a cluster with fewer texts, or without others.
    """
    found = np.full(n_clusters, np.nan, dtype=np.float32)
    words = TfidfVectorizer(token_pattern=_WORD, min_df=2, max_df=_COMMON, max_features=50_000, sublinear_tf=True)
    try:
        weights = words.fit_transform([text[:MOST_CHARACTERS] for text in texts])
    except ValueError:  # There is no such word.
        return found
    draw = np.random.default_rng(0)
    for j in range(n_clusters):
        own, others = np.flatnonzero(cluster == j), np.flatnonzero(cluster != j)
        if own.size < OWN or not others.size:
            continue
        hits = 0
        for _ in range(TRIALS):
            shown = weights[np.append(draw.choice(own, OWN, replace=False), draw.choice(others))]
            alike = np.asarray((shown @ shown.T).sum(axis=1)).ravel() - np.asarray(shown.multiply(shown).sum(axis=1)).ravel()
            hits += bool(alike[-1] < alike[:-1].min())
        found[j] = hits / TRIALS
    return found
