"""How texts become shingles, signatures and pairs: the numbers, and what they mean. Light, for those who only drive the work.

Of two texts whose sets of shingles have the Jaccard similarity s, a minimum of MinHash agrees with probability s, and one of BANDS
bands of ROWS minima with 1 - (1 - s^ROWS)^BANDS: .986 at .8, .92 at .75, .13 at .5 (Broder 1997; Leskovec, Rajaraman, Ullman,
Mining of Massive Datasets, chapter 3).
"""

SHINGLE_WORDS = 5

BANDS, ROWS = 18, 7
PERMUTATIONS = BANDS * ROWS

RECIPE = "words5-minhash18x7-1"
"""Names how texts become bands. Other ways get other names: their bands can't be compared."""

LEAST_SIMILARITY = 0.75
"""Pairs that are less alike aren't stored: settings may ask for more, and nothing is compared again."""

LEAST_PART_WORDS = 8
"""Texts of a benchmark with fewer words, such as short answers, are in too many documents by chance to be looked for."""

CONTAMINATION = "words5-idf-1"
"""Names how a benchmark's texts are looked for. Other ways get other names: benchmarks are then to be added again."""
