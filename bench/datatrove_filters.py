"""datatrove's quality filters, in an environment of their own: run by bench/quality.py, not by itself.

Reads a JSON list of texts from the file given as its argument. Prints the seconds that the four filters take together, once
warm, and their measures of each text.
"""

import json
import sys
import time
from pathlib import Path

from datatrove.data import Document
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates
from datatrove.utils.text import PUNCTUATION_SET, split_into_words


def main() -> None:
    """Filter, then measure."""
    texts = json.loads(Path(sys.argv[1]).read_text())
    filters = [GopherQualityFilter(), GopherRepetitionFilter(), FineWebQualityFilter(), C4QualityFilter()]
    seconds = float("inf")
    for _ in range(2):
        start = time.perf_counter()
        for number, text in enumerate(texts):
            for each in filters:
                each.filter(Document(text=text, id=str(number)))
        seconds = min(seconds, time.perf_counter() - start)
    measured, stops = [], FineWebQualityFilter().stop_chars
    for text in texts:
        words = split_into_words(text, "en")
        plain = [word for word in words if any(char not in PUNCTUATION_SET for char in word)]
        lines = [line for line in text.split("\n") if line.strip()]
        measured.append(
            {
                "words": len(plain),
                "word_length": sum(map(len, plain)) / max(1, len(plain)),
                "duplicate_line_share": find_duplicates(lines)[0] / max(1, len(lines)),
                "finished_line_share": sum(line.endswith(tuple(stops)) for line in lines) / max(1, len(lines)),
            }
        )
    print(json.dumps({"seconds": seconds, "measured": measured}))


if __name__ == "__main__":
    main()
