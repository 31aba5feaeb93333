CREATE TABLE benchmark (
    benchmark_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    benchmark_key text NOT NULL UNIQUE,
    name text COLLATE "C" NOT NULL,
    items int NOT NULL,
    parts int NOT NULL,
    artifact_key text NOT NULL,
    artifact_sha256 text NOT NULL,
    report jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE benchmark IS 'Sets of benchmark items that mixtures can keep out';
COMMENT ON COLUMN benchmark.benchmark_id IS 'Surrogate key';
COMMENT ON COLUMN benchmark.benchmark_key IS 'Identity: fingerprint of the name, the items, and how they are looked for';
COMMENT ON COLUMN benchmark.name IS 'What it is called; of several with one name, the newest is meant';
COMMENT ON COLUMN benchmark.items IS 'Items';
COMMENT ON COLUMN benchmark.parts IS 'Questions, answers and passages that are looked for: those with words enough';
COMMENT ON COLUMN benchmark.artifact_key IS 'Where they lie, below the state root';
COMMENT ON COLUMN benchmark.artifact_sha256 IS 'SHA-256 of that file';
COMMENT ON COLUMN benchmark.report IS 'What was read, and the share of parts found again after they were put into other texts, by how they were changed';
COMMENT ON COLUMN benchmark.created_at IS 'When it was entered';

CREATE TABLE benchmark_shard (
    benchmark_id int NOT NULL REFERENCES benchmark ON DELETE CASCADE,
    shard_id int NOT NULL REFERENCES shard ON DELETE CASCADE,
    texts bigint NOT NULL,
    contaminated bigint NOT NULL,
    run text,
    seconds double precision NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (benchmark_id, shard_id)
);
COMMENT ON TABLE benchmark_shard IS 'Shards whose texts were searched for a benchmark''s';
COMMENT ON COLUMN benchmark_shard.benchmark_id IS 'Benchmark';
COMMENT ON COLUMN benchmark_shard.shard_id IS 'Shard';
COMMENT ON COLUMN benchmark_shard.texts IS 'Different texts in it';
COMMENT ON COLUMN benchmark_shard.contaminated IS 'Of these, texts that hold something of the benchmark';
COMMENT ON COLUMN benchmark_shard.run IS 'The run that had it done';
COMMENT ON COLUMN benchmark_shard.seconds IS 'Time the worker took, divided among the benchmarks that it looked for at once';
COMMENT ON COLUMN benchmark_shard.checked_at IS 'When it was done';

CREATE TABLE contamination (
    benchmark_id int NOT NULL REFERENCES benchmark ON DELETE CASCADE,
    content_hash uuid NOT NULL,
    item int NOT NULL,
    field text NOT NULL,
    overlap real NOT NULL,
    found int NOT NULL,
    PRIMARY KEY (benchmark_id, content_hash)
);
COMMENT ON TABLE contamination IS 'Texts that hold something of a benchmark, wherever they are';
COMMENT ON COLUMN contamination.benchmark_id IS 'Benchmark';
COMMENT ON COLUMN contamination.content_hash IS 'Content hash of the text';
COMMENT ON COLUMN contamination.item IS 'The item that overlaps most: its place among all records of the files, from 0';
COMMENT ON COLUMN contamination.field IS 'What of it: question, answer or passage';
COMMENT ON COLUMN contamination.overlap IS 'Share of its words that a stretch of the text has, weighted by rarity in the benchmark';
COMMENT ON COLUMN contamination.found IS 'How many questions, answers and passages of the benchmark the text holds';

CREATE TABLE mixture_benchmark (
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    benchmark_id int NOT NULL REFERENCES benchmark,
    PRIMARY KEY (mixture_id, benchmark_id)
);
COMMENT ON TABLE mixture_benchmark IS 'Benchmarks that a mixture keeps out';
COMMENT ON COLUMN mixture_benchmark.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_benchmark.benchmark_id IS 'Benchmark';
