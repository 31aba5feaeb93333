-- The tables: models, corpora and their ledger, samples and scores, clusters, mixtures, crawls, labels, audits.
-- Samples and scores are partitioned by snapshot and by model: see ensure_partition in database/connection.py.

CREATE TABLE encoder (
    encoder_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encoder_key text NOT NULL UNIQUE,
    spec jsonb NOT NULL
);
COMMENT ON TABLE encoder IS 'Versions of the encoder that turns text into vectors';
COMMENT ON COLUMN encoder.encoder_id IS 'Surrogate key';
COMMENT ON COLUMN encoder.encoder_key IS 'Identity: fingerprint of the specification';
COMMENT ON COLUMN encoder.spec IS 'What decides the vectors: weights, pooling, length, precision';

CREATE TABLE rubric (
    rubric_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rubric_key text NOT NULL UNIQUE,
    name text NOT NULL,
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rubric IS 'What quality is judged by: dimensions with their ranges and meanings';
COMMENT ON COLUMN rubric.rubric_id IS 'Surrogate key';
COMMENT ON COLUMN rubric.rubric_key IS 'Identity: fingerprint of the specification';
COMMENT ON COLUMN rubric.name IS 'What the rubric is called';
COMMENT ON COLUMN rubric.spec IS 'Name and dimensions, in order: each its name, best score and meaning';
COMMENT ON COLUMN rubric.created_at IS 'When it was entered';

CREATE TABLE quality_model (
    quality_model_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    quality_model_key text NOT NULL UNIQUE,
    name text COLLATE "C" NOT NULL,
    spec jsonb NOT NULL,
    q_low real NOT NULL,
    q_high real NOT NULL,
    rubric_id int REFERENCES rubric,
    artifact_key text,
    artifact_sha256 text,
    report jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (q_low < q_high)
);
COMMENT ON TABLE quality_model IS 'Versions of the scorer that turns text into quality';
COMMENT ON COLUMN quality_model.quality_model_id IS 'Surrogate key';
COMMENT ON COLUMN quality_model.quality_model_key IS 'Identity: fingerprint of the specification';
COMMENT ON COLUMN quality_model.name IS 'What it is called; of several with one name, the newest is meant';
COMMENT ON COLUMN quality_model.spec IS 'What decides the scores';
COMMENT ON COLUMN quality_model.q_low IS 'Quality that is normalised to 0; fixed, so that new crawls do not move old scores';
COMMENT ON COLUMN quality_model.q_high IS 'Quality that is normalised to 1';
COMMENT ON COLUMN quality_model.rubric_id IS 'The rubric of its labels, if it was trained on labels';
COMMENT ON COLUMN quality_model.artifact_key IS 'Where its weights lie, below the state root; empty where the code is all of it';
COMMENT ON COLUMN quality_model.artifact_sha256 IS 'SHA-256 of the weights';
COMMENT ON COLUMN quality_model.report IS 'How it was trained, and how good it was on documents that it had not seen';
COMMENT ON COLUMN quality_model.created_at IS 'When it was entered';

CREATE TABLE corpus (
    corpus_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corpus_key text NOT NULL UNIQUE,
    uri text NOT NULL,
    reader jsonb NOT NULL,
    tokenizer text NOT NULL,
    tokenizer_id text NOT NULL,
    rules int NOT NULL DEFAULT 1,
    current_quality_model int REFERENCES quality_model,
    current_cluster_model int,
    created_at timestamptz NOT NULL DEFAULT now(),
    registered_at timestamptz NOT NULL DEFAULT now(),
    published_at timestamptz
);
COMMENT ON TABLE corpus IS 'Corpora: a place, a way to read it, and the tokenizer that counts its tokens';
COMMENT ON COLUMN corpus.corpus_id IS 'Surrogate key';
COMMENT ON COLUMN corpus.corpus_key IS 'Identity: fingerprint of uri, reader, tokenizer_id, and rules';
COMMENT ON COLUMN corpus.uri IS 'Where the corpus lies';
COMMENT ON COLUMN corpus.reader IS 'How records become documents';
COMMENT ON COLUMN corpus.tokenizer IS 'What the tokenizer behind n_tokens is called';
COMMENT ON COLUMN corpus.tokenizer_id IS 'Identity of the tokenizer behind n_tokens';
COMMENT ON COLUMN corpus.rules IS 'Version of the rules by which records are documents and tokens are counted';
COMMENT ON COLUMN corpus.current_quality_model IS 'Quality model that view sample_scores shows';
COMMENT ON COLUMN corpus.current_cluster_model IS 'Cluster model that view sample_scores shows';
COMMENT ON COLUMN corpus.created_at IS 'When the corpus was first registered';
COMMENT ON COLUMN corpus.registered_at IS 'When a run registered it last';
COMMENT ON COLUMN corpus.published_at IS 'When a mixture of it was last published: of the corpora at one URI, view sample_scores shows the last';

CREATE TABLE cluster_model (
    cluster_model_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_model_key text NOT NULL UNIQUE,
    corpus_id int NOT NULL REFERENCES corpus,
    encoder_id int NOT NULL REFERENCES encoder,
    spec jsonb NOT NULL,
    artifact_key text NOT NULL,
    artifact_sha256 text NOT NULL,
    n_clusters int NOT NULL,
    fit_rows int NOT NULL,
    fit_noise_share double precision NOT NULL,
    state text NOT NULL DEFAULT 'fitted' CHECK (state IN ('fitted', 'measured')),
    diversity_low double precision,
    diversity_high double precision,
    comparison jsonb,
    run text,
    seconds double precision NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (state = 'fitted' OR (diversity_low IS NOT NULL AND diversity_high IS NOT NULL))
);
COMMENT ON TABLE cluster_model IS 'Fitted clusterings of a corpus';
COMMENT ON COLUMN cluster_model.cluster_model_id IS 'Surrogate key';
COMMENT ON COLUMN cluster_model.cluster_model_key IS 'Identity: fingerprint of corpus, encoder, specification and artifact';
COMMENT ON COLUMN cluster_model.corpus_id IS 'Corpus it was fitted on';
COMMENT ON COLUMN cluster_model.encoder_id IS 'Encoder whose vectors it clusters';
COMMENT ON COLUMN cluster_model.spec IS 'What decided the fit: settings, seed, the sample';
COMMENT ON COLUMN cluster_model.artifact_key IS 'Where the centroids lie, below the state root';
COMMENT ON COLUMN cluster_model.artifact_sha256 IS 'SHA-256 of the artifact';
COMMENT ON COLUMN cluster_model.n_clusters IS 'Number of clusters';
COMMENT ON COLUMN cluster_model.fit_rows IS 'Documents in the fit''s sample';
COMMENT ON COLUMN cluster_model.fit_noise_share IS 'Share of that sample that was noise';
COMMENT ON COLUMN cluster_model.state IS 'fitted: centroids only; measured: table cluster is complete';
COMMENT ON COLUMN cluster_model.diversity_low IS 'compactness x separation that is normalised to 0';
COMMENT ON COLUMN cluster_model.diversity_high IS 'compactness x separation that is normalised to 1';
COMMENT ON COLUMN cluster_model.comparison IS 'This encoder beside another on documents of the corpus: adjusted mutual information of clusters, Spearman''s correlation of d, documents a second';
COMMENT ON COLUMN cluster_model.run IS 'The run that had it done; null for what was done before this was noted';
COMMENT ON COLUMN cluster_model.seconds IS 'Time the worker took';
COMMENT ON COLUMN cluster_model.created_at IS 'When it was fitted';

CREATE TABLE snapshot (
    snapshot_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corpus_id int NOT NULL REFERENCES corpus,
    name text COLLATE "C" NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (corpus_id, name)
);
COMMENT ON TABLE snapshot IS 'Snapshots (crawls) of a corpus';
COMMENT ON COLUMN snapshot.snapshot_id IS 'Surrogate key; the big tables are partitioned by it';
COMMENT ON COLUMN snapshot.corpus_id IS 'Corpus it belongs to';
COMMENT ON COLUMN snapshot.name IS 'Name: the directory below the corpus URI';
COMMENT ON COLUMN snapshot.registered_at IS 'When the snapshot was first registered';

CREATE TABLE shard (
    shard_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    snapshot_id int NOT NULL REFERENCES snapshot,
    path text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    stamp text,
    registered_at timestamptz NOT NULL DEFAULT now(),
    superseded_at timestamptz
);
COMMENT ON TABLE shard IS 'Files of a snapshot, as they were when registered. A file that changed is another shard, and the earlier one is superseded';
COMMENT ON COLUMN shard.shard_id IS 'Surrogate key';
COMMENT ON COLUMN shard.snapshot_id IS 'Snapshot it belongs to';
COMMENT ON COLUMN shard.path IS 'Path relative to the corpus URI, snapshot directory included';
COMMENT ON COLUMN shard.etag IS 'Tag of the content, from the object store';
COMMENT ON COLUMN shard.size_bytes IS 'Size of the file in bytes, compressed as it is';
COMMENT ON COLUMN shard.stamp IS 'Modification time of a file in a directory: while it stays, the file is not read again for its etag. Null in S3';
COMMENT ON COLUMN shard.registered_at IS 'When the shard was first registered';
COMMENT ON COLUMN shard.superseded_at IS 'When a corrected file of the same name replaced this one; null for the file that is there';
CREATE UNIQUE INDEX shard_current ON shard (snapshot_id, path) WHERE superseded_at IS NULL;

CREATE TABLE unread_file (
    corpus_id int NOT NULL REFERENCES corpus,
    snapshot text COLLATE "C",
    path text COLLATE "C" NOT NULL,
    size_bytes bigint NOT NULL,
    reason text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE unread_file IS 'Files of a corpus that are not read, as they were when its shards were registered last';
COMMENT ON COLUMN unread_file.corpus_id IS 'Corpus';
COMMENT ON COLUMN unread_file.snapshot IS 'Directory below the corpus URI; null for a file that lies in none';
COMMENT ON COLUMN unread_file.path IS 'Path relative to the corpus URI; bytes that are not UTF-8 as backslash escapes';
COMMENT ON COLUMN unread_file.size_bytes IS 'Size of the file in bytes';
COMMENT ON COLUMN unread_file.reason IS 'Why: no_snapshot, no_domain, hidden, suffix, note, path or no_file';
COMMENT ON COLUMN unread_file.seen_at IS 'When it was seen last';
CREATE INDEX unread_file_of ON unread_file (corpus_id, size_bytes DESC);

CREATE TABLE domain (
    domain_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);
COMMENT ON TABLE domain IS 'Names of domains, once';
COMMENT ON COLUMN domain.domain_id IS 'Surrogate key';
COMMENT ON COLUMN domain.name IS 'Name as the corpus gives it';

CREATE TABLE block (
    shard_id int NOT NULL REFERENCES shard,
    block int NOT NULL,
    first_row bigint NOT NULL,
    rows bigint,
    byte_offset bigint NOT NULL,
    n_bytes bigint,
    PRIMARY KEY (shard_id, block)
);
COMMENT ON TABLE block IS 'The plan of each shard: the blocks of rows that are scored one by one. Facts of the file, the same under every model';
COMMENT ON COLUMN block.shard_id IS 'Shard';
COMMENT ON COLUMN block.block IS 'Number of the block in its shard, from 0';
COMMENT ON COLUMN block.first_row IS 'Its first row';
COMMENT ON COLUMN block.rows IS 'How many rows it has, blank lines counted; empty where it reaches to the end';
COMMENT ON COLUMN block.byte_offset IS 'Where it begins, in decompressed bytes; -1 in Parquet';
COMMENT ON COLUMN block.n_bytes IS 'Bytes of its rows, decompressed; empty where it reaches to the end';

CREATE TABLE shard_score (
    shard_id int NOT NULL REFERENCES shard,
    encoder_id int NOT NULL REFERENCES encoder,
    quality_model_id int NOT NULL REFERENCES quality_model,
    state text NOT NULL CHECK (state IN ('pending', 'done', 'refused', 'poison', 'failed')),
    etag text NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    error text,
    documents int,
    scored int,
    quarantined int,
    tokens bigint,
    text_bytes bigint,
    reused int NOT NULL DEFAULT 0,
    embedding_digest text,
    embedding_rows int,
    embedding_dim int,
    seconds double precision,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_id, encoder_id, quality_model_id),
    CONSTRAINT done_adds_up CHECK (
        state <> 'done'
        OR documents IS NOT NULL AND scored IS NOT NULL AND quarantined IS NOT NULL AND tokens IS NOT NULL AND text_bytes IS NOT NULL
            AND documents = scored + quarantined
            AND embedding_digest IS NOT NULL AND embedding_rows = scored AND embedding_dim > 0
            AND error IS NULL
    ),
    CONSTRAINT trouble_says_why CHECK (state IN ('pending', 'done') OR error IS NOT NULL)
);
COMMENT ON TABLE shard_score IS 'The ledger of scoring: what became of each shard under each pair of encoder and quality model';
COMMENT ON COLUMN shard_score.shard_id IS 'Shard';
COMMENT ON COLUMN shard_score.encoder_id IS 'Encoder version';
COMMENT ON COLUMN shard_score.quality_model_id IS 'Quality model version';
COMMENT ON COLUMN shard_score.state IS 'pending: begun, not finished; done; refused: the file can not be read; poison: it killed its workers; failed: an error that may pass';
COMMENT ON COLUMN shard_score.etag IS 'Tag of the content that was scored';
COMMENT ON COLUMN shard_score.attempts IS 'How often scoring was begun';
COMMENT ON COLUMN shard_score.error IS 'Why it is refused, poison or failed';
COMMENT ON COLUMN shard_score.documents IS 'Records met: scored + quarantined';
COMMENT ON COLUMN shard_score.scored IS 'Documents with scores: rows of sample and of quality_score';
COMMENT ON COLUMN shard_score.quarantined IS 'Records that could not be read: rows of quarantine';
COMMENT ON COLUMN shard_score.tokens IS 'Tokens of the scored documents';
COMMENT ON COLUMN shard_score.text_bytes IS 'Bytes of the scored documents'' texts in UTF-8';
COMMENT ON COLUMN shard_score.reused IS 'Documents whose text was embedded before, and whose vectors were taken';
COMMENT ON COLUMN shard_score.embedding_digest IS 'Digest of the shard''s rows and vectors, however it was cut into blocks';
COMMENT ON COLUMN shard_score.embedding_rows IS 'Vectors in the embedding files of its blocks';
COMMENT ON COLUMN shard_score.embedding_dim IS 'Dimensions of a vector';
COMMENT ON COLUMN shard_score.seconds IS 'Time the workers took, all blocks together';
COMMENT ON COLUMN shard_score.updated_at IS 'Last change of this row';

CREATE TABLE block_score (
    shard_id int NOT NULL,
    encoder_id int NOT NULL REFERENCES encoder,
    quality_model_id int NOT NULL REFERENCES quality_model,
    block int NOT NULL,
    scored int NOT NULL,
    quarantined int NOT NULL,
    tokens bigint NOT NULL,
    text_bytes bigint NOT NULL,
    embedding_key text NOT NULL,
    embedding_sha256 text NOT NULL,
    embedding_digest text NOT NULL,
    embedding_dim int NOT NULL,
    seconds double precision NOT NULL,
    done_at timestamptz NOT NULL DEFAULT now(),
    reused int NOT NULL DEFAULT 0,
    run text,
    encoder_tokens bigint NOT NULL,
    PRIMARY KEY (shard_id, encoder_id, quality_model_id, block),
    FOREIGN KEY (shard_id, block) REFERENCES block (shard_id, block)
);
COMMENT ON TABLE block_score IS 'The ledger of blocks: those that are scored, under each pair of encoder and quality model';
COMMENT ON COLUMN block_score.shard_id IS 'Shard';
COMMENT ON COLUMN block_score.encoder_id IS 'Encoder version';
COMMENT ON COLUMN block_score.quality_model_id IS 'Quality model version';
COMMENT ON COLUMN block_score.block IS 'Block of the shard';
COMMENT ON COLUMN block_score.scored IS 'Documents with scores: rows of sample and of quality_score';
COMMENT ON COLUMN block_score.quarantined IS 'Records that could not be read: rows of quarantine';
COMMENT ON COLUMN block_score.tokens IS 'Tokens of the scored documents';
COMMENT ON COLUMN block_score.text_bytes IS 'Bytes of their texts in UTF-8';
COMMENT ON COLUMN block_score.embedding_key IS 'Where the block''s embeddings lie, below the state root';
COMMENT ON COLUMN block_score.embedding_sha256 IS 'SHA-256 of that file';
COMMENT ON COLUMN block_score.embedding_digest IS 'Digest of its rows and vectors; those of a shard''s blocks add up to the shard''s';
COMMENT ON COLUMN block_score.embedding_dim IS 'Dimensions of a vector';
COMMENT ON COLUMN block_score.seconds IS 'Time the worker took';
COMMENT ON COLUMN block_score.done_at IS 'When it was done';
COMMENT ON COLUMN block_score.reused IS 'Documents whose text was embedded before, and whose vectors were taken';
COMMENT ON COLUMN block_score.run IS 'The run that had it done; null for what was done before this was noted';
COMMENT ON COLUMN block_score.encoder_tokens IS 'The same documents'' tokens by the encoder''s own tokenizer';
CREATE INDEX block_score_run ON block_score (run);

CREATE TABLE sample (
    row bigint NOT NULL,
    content_hash uuid NOT NULL,
    snapshot_id int NOT NULL,
    shard_id int NOT NULL,
    domain_id int NOT NULL,
    n_tokens int NOT NULL,
    n_bytes int NOT NULL,
    doc_id text,
    content_type text COLLATE "C",
    language text COLLATE "C",
    unknown_tokens int NOT NULL DEFAULT 0,
    PRIMARY KEY (snapshot_id, shard_id, row)
) PARTITION BY LIST (snapshot_id);
COMMENT ON TABLE sample IS 'Samples: the documents of every scored shard. Facts of the file, the same under every model';
COMMENT ON COLUMN sample.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN sample.content_hash IS '128-bit hash of the text; equal hashes are exact duplicates';
COMMENT ON COLUMN sample.snapshot_id IS 'Snapshot; partition key';
COMMENT ON COLUMN sample.shard_id IS 'Shard';
COMMENT ON COLUMN sample.domain_id IS 'Domain';
COMMENT ON COLUMN sample.n_tokens IS 'Tokens of the whole text, by the corpus''s tokenizer';
COMMENT ON COLUMN sample.n_bytes IS 'Bytes of the text in UTF-8';
COMMENT ON COLUMN sample.doc_id IS 'The document''s own id, if it has one';
COMMENT ON COLUMN sample.content_type IS 'Kind of text: prose, code, markup or list';
COMMENT ON COLUMN sample.language IS 'Language, a code of ISO 639; und where it can not be told';
COMMENT ON COLUMN sample.unknown_tokens IS 'Of the tokens, those of words that the tokenizer does not know';
CREATE INDEX sample_content_hash ON sample USING hash (content_hash);

CREATE TABLE quality_score (
    row bigint NOT NULL,
    snapshot_id int NOT NULL,
    shard_id int NOT NULL,
    quality_model_id int NOT NULL,
    quality real NOT NULL,
    clarity real,
    completeness real,
    structure real,
    credibility real,
    significance real,
    knowledge real,
    reasoning real,
    PRIMARY KEY (snapshot_id, quality_model_id, shard_id, row)
) PARTITION BY LIST (snapshot_id);
COMMENT ON TABLE quality_score IS 'Quality of a sample under a quality model';
COMMENT ON COLUMN quality_score.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN quality_score.snapshot_id IS 'Snapshot; partition key';
COMMENT ON COLUMN quality_score.shard_id IS 'Shard';
COMMENT ON COLUMN quality_score.quality_model_id IS 'Quality model version';
COMMENT ON COLUMN quality_score.quality IS 'Overall quality, from q_low to q_high of its quality model';
COMMENT ON COLUMN quality_score.clarity IS 'Clarity of expression and accuracy; empty where the model has no dimensions';
COMMENT ON COLUMN quality_score.completeness IS 'Completeness and coherence';
COMMENT ON COLUMN quality_score.structure IS 'Structure and style';
COMMENT ON COLUMN quality_score.credibility IS 'Content accuracy and credibility';
COMMENT ON COLUMN quality_score.significance IS 'Significance';
COMMENT ON COLUMN quality_score.knowledge IS 'Knowledge richness';
COMMENT ON COLUMN quality_score.reasoning IS 'Logicality and analytical depth';

CREATE TABLE quarantine (
    shard_id int NOT NULL REFERENCES shard,
    row bigint NOT NULL,
    byte_offset bigint NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (shard_id, row)
);
COMMENT ON TABLE quarantine IS 'Records that could not be read, and shards refused as a whole';
COMMENT ON COLUMN quarantine.shard_id IS 'Shard';
COMMENT ON COLUMN quarantine.row IS 'Place in the shard, from 0; -1 stands for the whole shard';
COMMENT ON COLUMN quarantine.byte_offset IS 'Where the record starts, in decompressed bytes; -1 where there is no such place';
COMMENT ON COLUMN quarantine.reason IS 'Kind of trouble';
COMMENT ON COLUMN quarantine.detail IS 'What exactly was found';

CREATE TABLE cluster (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    cluster int NOT NULL,
    size bigint NOT NULL,
    compactness double precision NOT NULL,
    separation double precision NOT NULL,
    diversity double precision NOT NULL,
    x real,
    y real,
    terms text[],
    PRIMARY KEY (cluster_model_id, cluster)
);
COMMENT ON TABLE cluster IS 'Clusters of a measured model; their diversity is that of every member';
COMMENT ON COLUMN cluster.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN cluster.cluster IS 'Number of the cluster in its model, from 0';
COMMENT ON COLUMN cluster.size IS 'Members over the measured snapshots';
COMMENT ON COLUMN cluster.compactness IS 'Mean distance of the members to the centroid';
COMMENT ON COLUMN cluster.separation IS 'Mean distance of the centroid to the others';
COMMENT ON COLUMN cluster.diversity IS 'compactness x separation, normalised to 0..1 with the model''s bounds';
COMMENT ON COLUMN cluster.x IS 'Place on a map on which near clusters are alike, -1 to 1; empty until described';
COMMENT ON COLUMN cluster.y IS 'As x';
COMMENT ON COLUMN cluster.terms IS 'Words that tell it from the others, the most telling first';

CREATE TABLE diversity_score (
    row bigint NOT NULL,
    cluster_model_id int NOT NULL,
    snapshot_id int NOT NULL,
    shard_id int NOT NULL,
    cluster int NOT NULL,
    distance real NOT NULL,
    is_noise boolean NOT NULL,
    PRIMARY KEY (cluster_model_id, snapshot_id, shard_id, row)
) PARTITION BY LIST (cluster_model_id);
COMMENT ON TABLE diversity_score IS 'Cluster of a sample under a cluster model; its diversity is that of the cluster';
COMMENT ON COLUMN diversity_score.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN diversity_score.cluster_model_id IS 'Cluster model; partition key';
COMMENT ON COLUMN diversity_score.snapshot_id IS 'Snapshot; partition key below the model';
COMMENT ON COLUMN diversity_score.shard_id IS 'Shard';
COMMENT ON COLUMN diversity_score.cluster IS 'Nearest cluster';
COMMENT ON COLUMN diversity_score.distance IS 'Cosine distance to its centroid';
COMMENT ON COLUMN diversity_score.is_noise IS 'Farther than the cluster''s radius';

CREATE TABLE shard_assignment (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    shard_id int NOT NULL REFERENCES shard,
    state text NOT NULL CHECK (state IN ('pending', 'done', 'failed')),
    attempts int NOT NULL DEFAULT 0,
    error text,
    embedding_digest text,
    rows int,
    noise_rows int,
    updated_at timestamptz NOT NULL DEFAULT now(),
    run text,
    seconds double precision NOT NULL DEFAULT 0,
    PRIMARY KEY (cluster_model_id, shard_id),
    CHECK (state <> 'done' OR embedding_digest IS NOT NULL AND rows IS NOT NULL AND noise_rows BETWEEN 0 AND rows),
    CHECK (state <> 'failed' OR error IS NOT NULL)
);
COMMENT ON TABLE shard_assignment IS 'The ledger of assignment: what became of each shard under each cluster model';
COMMENT ON COLUMN shard_assignment.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN shard_assignment.shard_id IS 'Shard';
COMMENT ON COLUMN shard_assignment.state IS 'pending: begun, not finished; done; failed';
COMMENT ON COLUMN shard_assignment.attempts IS 'How often assignment was begun';
COMMENT ON COLUMN shard_assignment.error IS 'Why it failed';
COMMENT ON COLUMN shard_assignment.embedding_digest IS 'Digest of the vectors that were assigned; another one now makes this row stale';
COMMENT ON COLUMN shard_assignment.rows IS 'Samples assigned';
COMMENT ON COLUMN shard_assignment.noise_rows IS 'Of these, farther from their centroid than its radius';
COMMENT ON COLUMN shard_assignment.updated_at IS 'Last change of this row';
COMMENT ON COLUMN shard_assignment.run IS 'The run that had it done; null for what was done before this was noted';
COMMENT ON COLUMN shard_assignment.seconds IS 'Time the worker took';
CREATE INDEX shard_assignment_run ON shard_assignment (run);

CREATE TABLE shard_cluster (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    shard_id int NOT NULL,
    cluster int NOT NULL,
    members int NOT NULL,
    distance_sum double precision NOT NULL,
    PRIMARY KEY (cluster_model_id, shard_id, cluster)
);
COMMENT ON TABLE shard_cluster IS 'Sums of one shard for one cluster; added up in the order of snapshot and path they give table cluster exactly';
COMMENT ON COLUMN shard_cluster.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN shard_cluster.shard_id IS 'Shard';
COMMENT ON COLUMN shard_cluster.cluster IS 'Cluster';
COMMENT ON COLUMN shard_cluster.members IS 'Samples of the shard that count as members';
COMMENT ON COLUMN shard_cluster.distance_sum IS 'Sum of their distances to the centroid';

CREATE TABLE score_rollup (
    documents bigint NOT NULL,
    tokens bigint NOT NULL,
    bytes bigint NOT NULL,
    quality_sum bigint NOT NULL,
    quality_square_sum bigint NOT NULL,
    snapshot_id int NOT NULL REFERENCES snapshot,
    quality_model_id int NOT NULL REFERENCES quality_model,
    domain_id int NOT NULL REFERENCES domain,
    quality_band int NOT NULL,
    unknown_tokens bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (snapshot_id, quality_model_id, domain_id, quality_band)
) WITH (fillfactor=50);
COMMENT ON TABLE score_rollup IS 'Scored samples added up, in the transactions that load them. Sums are of ten-thousandths: integers, the same in every order';
COMMENT ON COLUMN score_rollup.documents IS 'Samples';
COMMENT ON COLUMN score_rollup.tokens IS 'Their tokens';
COMMENT ON COLUMN score_rollup.bytes IS 'Bytes of their texts in UTF-8';
COMMENT ON COLUMN score_rollup.quality_sum IS 'Sum of their qualities, each times 10,000 and rounded';
COMMENT ON COLUMN score_rollup.quality_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN score_rollup.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN score_rollup.quality_model_id IS 'Quality model version';
COMMENT ON COLUMN score_rollup.domain_id IS 'Domain';
COMMENT ON COLUMN score_rollup.quality_band IS 'Band of quality, 0 to 39: fortieths of the way from the model''s q_low to its q_high';
COMMENT ON COLUMN score_rollup.unknown_tokens IS 'Of the tokens, those of words that the tokenizer does not know';

CREATE TABLE cluster_rollup (
    documents bigint NOT NULL,
    tokens bigint NOT NULL,
    noise bigint NOT NULL,
    distance_sum bigint NOT NULL,
    distance_square_sum bigint NOT NULL,
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    snapshot_id int NOT NULL REFERENCES snapshot,
    domain_id int NOT NULL REFERENCES domain,
    cluster int NOT NULL,
    PRIMARY KEY (cluster_model_id, snapshot_id, domain_id, cluster)
) WITH (fillfactor=50);
COMMENT ON TABLE cluster_rollup IS 'Assigned samples added up, in the transactions that load them. Sums are of ten-thousandths: integers, the same in every order';
COMMENT ON COLUMN cluster_rollup.documents IS 'Samples';
COMMENT ON COLUMN cluster_rollup.tokens IS 'Their tokens';
COMMENT ON COLUMN cluster_rollup.noise IS 'Those of them that are farther from the centroid than the cluster''s radius';
COMMENT ON COLUMN cluster_rollup.distance_sum IS 'Sum of their distances to the centroid, each times 10,000 and rounded';
COMMENT ON COLUMN cluster_rollup.distance_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN cluster_rollup.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN cluster_rollup.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN cluster_rollup.domain_id IS 'Domain';
COMMENT ON COLUMN cluster_rollup.cluster IS 'Nearest cluster';

CREATE TABLE mixture (
    mixture_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    version int NOT NULL CHECK (version > 0),
    corpus_id int NOT NULL REFERENCES corpus,
    manifest_uri text NOT NULL,
    manifest_sha256 text,
    content_digest text NOT NULL,
    config jsonb NOT NULL,
    policy text NOT NULL,
    tokenizer text NOT NULL,
    seed bigint NOT NULL,
    budget_tokens bigint NOT NULL,
    realised_tokens bigint NOT NULL,
    samples bigint NOT NULL,
    copies bigint NOT NULL,
    documents bigint NOT NULL,
    scored bigint NOT NULL,
    quarantined bigint NOT NULL,
    duplicates bigint NOT NULL,
    eligible bigint NOT NULL,
    quality_model_id int NOT NULL REFERENCES quality_model,
    other_quality_model_ids int[] NOT NULL DEFAULT '{}',
    encoder_id int NOT NULL REFERENCES encoder,
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    parent_version int,
    airflow_run_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT mixture_adds_up CHECK (documents = scored + quarantined + duplicates AND eligible <= scored AND samples <= eligible),
    UNIQUE (name, version)
);
COMMENT ON TABLE mixture IS 'Published versions of mixtures';
COMMENT ON COLUMN mixture.mixture_id IS 'Surrogate key';
COMMENT ON COLUMN mixture.name IS 'Name under which versions are published';
COMMENT ON COLUMN mixture.version IS 'Version, from 1';
COMMENT ON COLUMN mixture.corpus_id IS 'Corpus it was made from';
COMMENT ON COLUMN mixture.manifest_uri IS 'Where the manifest lies';
COMMENT ON COLUMN mixture.manifest_sha256 IS 'SHA-256 of its manifest.json; null for a version of an earlier release';
COMMENT ON COLUMN mixture.content_digest IS 'Digest of the manifest''s parts; equal digests are equal mixtures';
COMMENT ON COLUMN mixture.config IS 'The run''s configuration';
COMMENT ON COLUMN mixture.policy IS 'Policy that made the weights';
COMMENT ON COLUMN mixture.tokenizer IS 'Tokenizer whose tokens its budget and counts are in';
COMMENT ON COLUMN mixture.seed IS 'Seed of everything random';
COMMENT ON COLUMN mixture.budget_tokens IS 'Tokens asked for';
COMMENT ON COLUMN mixture.realised_tokens IS 'Tokens it holds, copies counted';
COMMENT ON COLUMN mixture.samples IS 'Distinct samples it holds';
COMMENT ON COLUMN mixture.copies IS 'Copies of samples it holds';
COMMENT ON COLUMN mixture.documents IS 'Records of the source: scored + quarantined + duplicates';
COMMENT ON COLUMN mixture.scored IS 'Documents of the source with scores, exact duplicates apart';
COMMENT ON COLUMN mixture.quarantined IS 'Records of the source that could not be read';
COMMENT ON COLUMN mixture.duplicates IS 'Documents left out because an earlier one has the same text';
COMMENT ON COLUMN mixture.eligible IS 'Documents the policy chose from';
COMMENT ON COLUMN mixture.quality_model_id IS 'Quality model behind the weights';
COMMENT ON COLUMN mixture.other_quality_model_ids IS 'Quality models that scored the same documents in the same run';
COMMENT ON COLUMN mixture.encoder_id IS 'Encoder behind the clusters';
COMMENT ON COLUMN mixture.cluster_model_id IS 'Cluster model behind the weights';
COMMENT ON COLUMN mixture.parent_version IS 'Version that was the latest when this one was published';
COMMENT ON COLUMN mixture.airflow_run_id IS 'Airflow run that made it, if one did';
COMMENT ON COLUMN mixture.created_at IS 'When it was recorded here';

CREATE TABLE mixture_snapshot (
    mixture_id int NOT NULL REFERENCES mixture,
    snapshot_id int NOT NULL REFERENCES snapshot,
    PRIMARY KEY (mixture_id, snapshot_id)
);
COMMENT ON TABLE mixture_snapshot IS 'Snapshots a mixture was made from';
COMMENT ON COLUMN mixture_snapshot.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_snapshot.snapshot_id IS 'Snapshot';

CREATE TABLE mixture_domain (
    mixture_id int NOT NULL REFERENCES mixture,
    domain text COLLATE "C" NOT NULL,
    source_samples bigint NOT NULL,
    source_tokens bigint NOT NULL,
    source_share double precision NOT NULL,
    mixture_tokens bigint NOT NULL,
    mixture_share double precision NOT NULL,
    mean_copies double precision NOT NULL,
    PRIMARY KEY (mixture_id, domain)
);
COMMENT ON TABLE mixture_domain IS 'Domains before and after mixing';
COMMENT ON COLUMN mixture_domain.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_domain.domain IS 'Domain';
COMMENT ON COLUMN mixture_domain.source_samples IS 'Eligible samples of the source';
COMMENT ON COLUMN mixture_domain.source_tokens IS 'Their tokens';
COMMENT ON COLUMN mixture_domain.source_share IS 'Share of the source''s tokens, 0..1';
COMMENT ON COLUMN mixture_domain.mixture_tokens IS 'Tokens in the mixture, copies counted';
COMMENT ON COLUMN mixture_domain.mixture_share IS 'Share of the mixture''s tokens, 0..1';
COMMENT ON COLUMN mixture_domain.mean_copies IS 'Mean copies of an eligible sample, those left out counting 0';

CREATE TABLE mixture_sample (
    row bigint NOT NULL,
    weight double precision NOT NULL,
    mixture_id int NOT NULL,
    snapshot_id int NOT NULL,
    shard_id int NOT NULL,
    copies int NOT NULL,
    domain_id int,
    n_tokens int,
    quality real,
    diversity real,
    cluster int,
    PRIMARY KEY (mixture_id, snapshot_id, shard_id, row)
) PARTITION BY LIST (mixture_id);
COMMENT ON TABLE mixture_sample IS 'Samples of a mixture; a sample that is not in it has no row';
COMMENT ON COLUMN mixture_sample.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN mixture_sample.weight IS 'Weight the policy gave it';
COMMENT ON COLUMN mixture_sample.mixture_id IS 'Mixture; partition key';
COMMENT ON COLUMN mixture_sample.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN mixture_sample.shard_id IS 'Shard';
COMMENT ON COLUMN mixture_sample.copies IS 'Copies of the sample, at least 1';
COMMENT ON COLUMN mixture_sample.domain_id IS 'Domain; this and what follows is empty where a version is older than these columns and its scores were gone';
COMMENT ON COLUMN mixture_sample.n_tokens IS 'Tokens of the whole text, by the mixture''s tokenizer';
COMMENT ON COLUMN mixture_sample.quality IS 'Quality under the mixture''s quality model';
COMMENT ON COLUMN mixture_sample.diversity IS 'Diversity of its cluster when the mixture was made, 0..1';
COMMENT ON COLUMN mixture_sample.cluster IS 'Nearest cluster of the mixture''s cluster model';
CREATE INDEX mixture_sample_by_copies ON mixture_sample (copies, weight, snapshot_id, shard_id, row);
CREATE INDEX mixture_sample_by_weight ON mixture_sample (weight, snapshot_id, shard_id, row);

CREATE TABLE mixture_rollup (
    documents bigint NOT NULL,
    tokens bigint NOT NULL,
    quality_sum bigint NOT NULL,
    quality_square_sum bigint NOT NULL,
    distance_sum bigint NOT NULL,
    distance_square_sum bigint NOT NULL,
    samples bigint NOT NULL,
    copies bigint NOT NULL,
    mixture_tokens bigint NOT NULL,
    mixture_quality_sum bigint NOT NULL,
    mixture_quality_square_sum bigint NOT NULL,
    mixture_distance_sum bigint NOT NULL,
    mixture_distance_square_sum bigint NOT NULL,
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    domain_id int NOT NULL REFERENCES domain,
    cluster int NOT NULL,
    quality_band int NOT NULL,
    diversity real NOT NULL,
    PRIMARY KEY (mixture_id, domain_id, cluster, quality_band)
);
COMMENT ON TABLE mixture_rollup IS 'What each mixture chose from and what it holds, added up. Sums are of ten-thousandths: integers, the same in every order';
COMMENT ON COLUMN mixture_rollup.documents IS 'Eligible samples of the source: scored, exact duplicates apart';
COMMENT ON COLUMN mixture_rollup.tokens IS 'Their tokens';
COMMENT ON COLUMN mixture_rollup.quality_sum IS 'Sum of their qualities, each times 10,000 and rounded';
COMMENT ON COLUMN mixture_rollup.quality_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollup.distance_sum IS 'Sum of their distances to the centroid, each times 10,000 and rounded';
COMMENT ON COLUMN mixture_rollup.distance_square_sum IS 'Sum of the squares of these';
COMMENT ON COLUMN mixture_rollup.samples IS 'Those of them that the mixture holds';
COMMENT ON COLUMN mixture_rollup.copies IS 'Copies of these';
COMMENT ON COLUMN mixture_rollup.mixture_tokens IS 'Tokens of the copies';
COMMENT ON COLUMN mixture_rollup.mixture_quality_sum IS 'As quality_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_quality_square_sum IS 'As quality_square_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_distance_sum IS 'As distance_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_distance_square_sum IS 'As distance_square_sum, over copies';
COMMENT ON COLUMN mixture_rollup.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_rollup.domain_id IS 'Domain';
COMMENT ON COLUMN mixture_rollup.cluster IS 'Nearest cluster of the mixture''s cluster model';
COMMENT ON COLUMN mixture_rollup.quality_band IS 'Band of quality under the mixture''s quality model, 0 to 39';
COMMENT ON COLUMN mixture_rollup.diversity IS 'Diversity of the cluster when the mixture was made, 0..1';

CREATE TABLE mixture_copy_count (
    samples bigint NOT NULL,
    tokens bigint NOT NULL,
    mixture_id int NOT NULL REFERENCES mixture ON DELETE CASCADE,
    snapshot_id int NOT NULL REFERENCES snapshot,
    domain_id int NOT NULL REFERENCES domain,
    copies int NOT NULL,
    PRIMARY KEY (mixture_id, snapshot_id, domain_id, copies)
);
COMMENT ON TABLE mixture_copy_count IS 'How many eligible samples of each snapshot and domain a mixture took how often';
COMMENT ON COLUMN mixture_copy_count.samples IS 'Samples with so many copies';
COMMENT ON COLUMN mixture_copy_count.tokens IS 'Their tokens, each sample''s once';
COMMENT ON COLUMN mixture_copy_count.mixture_id IS 'Mixture';
COMMENT ON COLUMN mixture_copy_count.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN mixture_copy_count.domain_id IS 'Domain';
COMMENT ON COLUMN mixture_copy_count.copies IS 'Copies; 0 for a sample that was not taken';

CREATE TABLE mixture_change (
    mixture_id int PRIMARY KEY REFERENCES mixture ON DELETE CASCADE,
    parent_mixture_id int REFERENCES mixture ON DELETE CASCADE,
    entered bigint NOT NULL,
    departed bigint NOT NULL,
    more_copies bigint NOT NULL,
    fewer_copies bigint NOT NULL,
    same_copies bigint NOT NULL,
    domains jsonb NOT NULL,
    crawls jsonb NOT NULL
);
COMMENT ON TABLE mixture_change IS 'What a version of a mixture changed against the version before it';
COMMENT ON COLUMN mixture_change.mixture_id IS 'The version';
COMMENT ON COLUMN mixture_change.parent_mixture_id IS 'The version before it; empty for a first one';
COMMENT ON COLUMN mixture_change.entered IS 'Samples that it holds and its parent does not';
COMMENT ON COLUMN mixture_change.departed IS 'Samples that its parent holds and it does not';
COMMENT ON COLUMN mixture_change.more_copies IS 'Samples of both that have more copies now';
COMMENT ON COLUMN mixture_change.fewer_copies IS 'Samples of both that have fewer copies now';
COMMENT ON COLUMN mixture_change.same_copies IS 'Samples of both that have as many copies as before';
COMMENT ON COLUMN mixture_change.domains IS 'By domain: tokens in the parent and in the version';
COMMENT ON COLUMN mixture_change.crawls IS 'Snapshots that its parent was not of: documents and tokens there, and how many of them it holds';

CREATE TABLE corpus_config (
    name text COLLATE "C" PRIMARY KEY,
    config jsonb NOT NULL,
    is_paused boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE corpus_config IS 'Corpora by the names that people give them, with what their runs have in common (samplemix corpus)';
COMMENT ON COLUMN corpus_config.name IS 'The corpus''s name';
COMMENT ON COLUMN corpus_config.config IS 'Where it lies, how it is read, scored and mixed, and how a crawl is known to be whole';
COMMENT ON COLUMN corpus_config.is_paused IS 'While it is, crawls that land wait';
COMMENT ON COLUMN corpus_config.created_at IS 'When it was added';
COMMENT ON COLUMN corpus_config.updated_at IS 'When it was last changed';

CREATE TABLE crawl (
    corpus text COLLATE "C" NOT NULL REFERENCES corpus_config ON DELETE CASCADE,
    snapshot text COLLATE "C" NOT NULL,
    partition_date timestamptz NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('waiting', 'landed', 'taken', 'removed')),
    reason text,
    marker text,
    marker_at timestamptz,
    files int NOT NULL,
    bytes bigint NOT NULL,
    landed_at timestamptz,
    taken_at timestamptz,
    run text,
    PRIMARY KEY (corpus, snapshot)
);
COMMENT ON TABLE crawl IS 'Snapshots of named corpora, as they land: the partitions of the DAG samplemix_score_crawl';
COMMENT ON COLUMN crawl.corpus IS 'Name of the corpus';
COMMENT ON COLUMN crawl.snapshot IS 'Name of the snapshot, which is its directory';
COMMENT ON COLUMN crawl.partition_date IS 'Its date as a partition, no other crawl''s: of its name if that holds one, else of its landing';
COMMENT ON COLUMN crawl.state IS 'waiting (not whole), landed (for a run to take), taken (by a run, or there before the corpus was added), removed';
COMMENT ON COLUMN crawl.reason IS 'Why it waits, or why the run that took it failed';
COMMENT ON COLUMN crawl.marker IS 'Etag and time of the marker that said it was whole, or by hand';
COMMENT ON COLUMN crawl.marker_at IS 'When that was said: files that are newer are not vouched for';
COMMENT ON COLUMN crawl.files IS 'Shards that it had when it was last looked at';
COMMENT ON COLUMN crawl.bytes IS 'Their size together';
COMMENT ON COLUMN crawl.landed_at IS 'When it was first seen to be whole';
COMMENT ON COLUMN crawl.taken_at IS 'When a run took it';
COMMENT ON COLUMN crawl.run IS 'The Airflow run that took it';

CREATE TABLE annotator (
    annotator_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    rubric_id int NOT NULL REFERENCES rubric,
    spec jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE annotator IS 'Who judged texts by a rubric: people, or a language model with a prompt';
COMMENT ON COLUMN annotator.annotator_id IS 'Surrogate key';
COMMENT ON COLUMN annotator.name IS 'What the annotator is called';
COMMENT ON COLUMN annotator.rubric_id IS 'The rubric that it judged by';
COMMENT ON COLUMN annotator.spec IS 'What decides its judgement, as far as it is known';
COMMENT ON COLUMN annotator.created_at IS 'When it was entered';

CREATE TABLE labelled_text (
    content_hash uuid PRIMARY KEY,
    text text NOT NULL,
    doc_id text,
    source text COLLATE "C" NOT NULL,
    language text COLLATE "C",
    split_group text COLLATE "C",
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE labelled_text IS 'Texts that were given to annotators, each once';
COMMENT ON COLUMN labelled_text.content_hash IS '128-bit hash of the text, as in sample';
COMMENT ON COLUMN labelled_text.text IS 'The whole text';
COMMENT ON COLUMN labelled_text.doc_id IS 'The document''s own id, if it has one';
COMMENT ON COLUMN labelled_text.source IS 'Where it is from: a corpus''s domain, or a file of labels';
COMMENT ON COLUMN labelled_text.language IS 'Its language, if that was said';
COMMENT ON COLUMN labelled_text.split_group IS 'Texts of one group are never divided between training and testing; empty: a group of its own';
COMMENT ON COLUMN labelled_text.created_at IS 'When it was entered';

CREATE TABLE labelled_vector (
    encoder_id int NOT NULL REFERENCES encoder,
    content_hash uuid NOT NULL REFERENCES labelled_text,
    vector bytea NOT NULL,
    PRIMARY KEY (encoder_id, content_hash)
);
COMMENT ON TABLE labelled_vector IS 'Vectors of labelled texts, so that training again embeds nothing again';
COMMENT ON COLUMN labelled_vector.encoder_id IS 'Which encoder made it';
COMMENT ON COLUMN labelled_vector.content_hash IS 'Of which text';
COMMENT ON COLUMN labelled_vector.vector IS 'The unit vector as float16, little-endian';

CREATE TABLE annotation (
    annotator_id int NOT NULL REFERENCES annotator,
    content_hash uuid NOT NULL REFERENCES labelled_text,
    scores smallint[] NOT NULL,
    overall smallint NOT NULL,
    rationale text,
    input_tokens int,
    output_tokens int,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (annotator_id, content_hash)
);
COMMENT ON TABLE annotation IS 'What an annotator said of a text';
COMMENT ON COLUMN annotation.annotator_id IS 'Who';
COMMENT ON COLUMN annotation.content_hash IS 'Of which text';
COMMENT ON COLUMN annotation.scores IS 'A score for each dimension of the annotator''s rubric, in its order';
COMMENT ON COLUMN annotation.overall IS 'The sum of the scores';
COMMENT ON COLUMN annotation.rationale IS 'Why, in a sentence, if that was said';
COMMENT ON COLUMN annotation.input_tokens IS 'Tokens that a language model read for it, all attempts counted; empty for others';
COMMENT ON COLUMN annotation.output_tokens IS 'Tokens that it wrote';
COMMENT ON COLUMN annotation.created_at IS 'When it was entered';
CREATE INDEX annotation_by_text ON annotation (content_hash);

CREATE TABLE annotation_refusal (
    annotator_id int NOT NULL REFERENCES annotator,
    content_hash uuid NOT NULL REFERENCES labelled_text,
    reason text NOT NULL,
    detail text NOT NULL,
    attempts int NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (annotator_id, content_hash)
);
COMMENT ON TABLE annotation_refusal IS 'Texts of which an annotator gave no judgement that can be used, after being asked again';
COMMENT ON COLUMN annotation_refusal.annotator_id IS 'Who';
COMMENT ON COLUMN annotation_refusal.content_hash IS 'Of which text';
COMMENT ON COLUMN annotation_refusal.reason IS 'What was wrong with the last answer';
COMMENT ON COLUMN annotation_refusal.detail IS 'The same, for people';
COMMENT ON COLUMN annotation_refusal.attempts IS 'How often it was asked';
COMMENT ON COLUMN annotation_refusal.created_at IS 'When it was given up';

CREATE TABLE quality_audit (
    audit_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corpus_id int NOT NULL REFERENCES corpus,
    quality_model_id int NOT NULL REFERENCES quality_model,
    snapshots text[] NOT NULL,
    documents int NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('fine', 'warn', 'stop')),
    sources jsonb NOT NULL,
    agreement jsonb NOT NULL,
    findings jsonb NOT NULL,
    extremes jsonb NOT NULL,
    run text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE quality_audit IS 'What a quality model was found to measure on a sample of a corpus: one row each time it was looked at';
COMMENT ON COLUMN quality_audit.audit_id IS 'Surrogate key, in the order of time';
COMMENT ON COLUMN quality_audit.corpus_id IS 'Corpus';
COMMENT ON COLUMN quality_audit.quality_model_id IS 'Quality model';
COMMENT ON COLUMN quality_audit.snapshots IS 'Snapshots that were looked at';
COMMENT ON COLUMN quality_audit.documents IS 'Documents that were looked at';
COMMENT ON COLUMN quality_audit.verdict IS 'fine, warn, or stop: the worst of the findings';
COMMENT ON COLUMN quality_audit.sources IS 'How well domain, crawl, language and content type alone predict quality: R2, and AUC of the better half';
COMMENT ON COLUMN quality_audit.agreement IS 'By other quality model: correlation of ranks';
COMMENT ON COLUMN quality_audit.findings IS 'Measures beyond a limit, with what they mean';
COMMENT ON COLUMN quality_audit.extremes IS 'Places of the documents with the highest and lowest quality of each domain';
COMMENT ON COLUMN quality_audit.run IS 'The run that looked; null for the command samplemix quality audit';
COMMENT ON COLUMN quality_audit.created_at IS 'When';
CREATE INDEX quality_audit_of ON quality_audit (corpus_id, quality_model_id, audit_id);

CREATE TABLE quality_audit_group (
    audit_id int NOT NULL REFERENCES quality_audit ON DELETE CASCADE,
    grouping text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    documents int NOT NULL,
    mean double precision NOT NULL,
    spread double precision NOT NULL,
    lowest_tenth double precision NOT NULL,
    median double precision NOT NULL,
    highest_tenth double precision NOT NULL,
    constant_share double precision NOT NULL,
    length_correlation double precision,
    PRIMARY KEY (audit_id, "grouping", name)
);
COMMENT ON TABLE quality_audit_group IS 'What a quality model gave a group of documents, 0 to 1 in its range';
COMMENT ON COLUMN quality_audit_group.audit_id IS 'Audit';
COMMENT ON COLUMN quality_audit_group.grouping IS 'domain, snapshot, language or content_type; empty for all documents';
COMMENT ON COLUMN quality_audit_group.name IS 'Which of them';
COMMENT ON COLUMN quality_audit_group.documents IS 'Documents that were looked at';
COMMENT ON COLUMN quality_audit_group.mean IS 'Mean of their quality';
COMMENT ON COLUMN quality_audit_group.spread IS 'Standard deviation';
COMMENT ON COLUMN quality_audit_group.lowest_tenth IS 'A tenth of them have less';
COMMENT ON COLUMN quality_audit_group.median IS 'Half of them have less';
COMMENT ON COLUMN quality_audit_group.highest_tenth IS 'A tenth of them have more';
COMMENT ON COLUMN quality_audit_group.constant_share IS 'Share of them that have nearly the commonest quality, within a hundredth of the range';
COMMENT ON COLUMN quality_audit_group.length_correlation IS 'Correlation of ranks of quality and of tokens; null where one does not vary';

ALTER TABLE corpus ADD FOREIGN KEY (current_cluster_model) REFERENCES cluster_model;
