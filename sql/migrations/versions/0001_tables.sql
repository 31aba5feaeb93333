-- Integers such as shard_id are surrogates inside this database: no key, identity or order outside it is made of them.
-- Names and paths collate "C", so that their order is the order of bytes everywhere.
-- Tables of one row a sample carry no foreign keys: a check a row would halve the speed of loading. They are written by
-- samplemix_core.store alone, together with the ledger row that accounts for them.

CREATE TABLE encoder (
    encoder_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    encoder_key text NOT NULL UNIQUE,
    spec jsonb NOT NULL
);
COMMENT ON TABLE encoder IS 'Versions of the encoder that turns text into vectors';
COMMENT ON COLUMN encoder.encoder_id IS 'Surrogate key';
COMMENT ON COLUMN encoder.encoder_key IS 'Identity: fingerprint of the specification';
COMMENT ON COLUMN encoder.spec IS 'What decides the vectors: weights, pooling, length, precision';

CREATE TABLE quality_model (
    quality_model_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    quality_model_key text NOT NULL UNIQUE,
    spec jsonb NOT NULL,
    q_low real NOT NULL,
    q_high real NOT NULL,
    CHECK (q_low < q_high)
);
COMMENT ON TABLE quality_model IS 'Versions of the scorer that turns text into quality';
COMMENT ON COLUMN quality_model.quality_model_id IS 'Surrogate key';
COMMENT ON COLUMN quality_model.quality_model_key IS 'Identity: fingerprint of the specification';
COMMENT ON COLUMN quality_model.spec IS 'What decides the scores';
COMMENT ON COLUMN quality_model.q_low IS 'Quality that is normalised to 0; fixed, so that new crawls do not move old scores';
COMMENT ON COLUMN quality_model.q_high IS 'Quality that is normalised to 1';

CREATE TABLE corpus (
    corpus_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    corpus_key text NOT NULL UNIQUE,
    uri text NOT NULL,
    reader jsonb NOT NULL,
    tokenizer_id text NOT NULL,
    current_quality_model int REFERENCES quality_model,
    current_cluster_model int,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE corpus IS 'Corpora: a place, a way to read it, and the tokenizer that counts its tokens';
COMMENT ON COLUMN corpus.corpus_id IS 'Surrogate key';
COMMENT ON COLUMN corpus.corpus_key IS 'Identity: fingerprint of uri, reader and tokenizer_id';
COMMENT ON COLUMN corpus.uri IS 'Where the corpus lies';
COMMENT ON COLUMN corpus.reader IS 'How records become documents';
COMMENT ON COLUMN corpus.tokenizer_id IS 'Identity of the tokenizer behind n_tokens';
COMMENT ON COLUMN corpus.current_quality_model IS 'Quality model that view sample_scores shows';
COMMENT ON COLUMN corpus.current_cluster_model IS 'Cluster model that view sample_scores shows';
COMMENT ON COLUMN corpus.created_at IS 'When the corpus was first registered';

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

CREATE TABLE domain (
    domain_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE
);
COMMENT ON TABLE domain IS 'Names of domains, once';
COMMENT ON COLUMN domain.domain_id IS 'Surrogate key';
COMMENT ON COLUMN domain.name IS 'Name as the corpus gives it';

CREATE TABLE shard (
    shard_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    snapshot_id int NOT NULL REFERENCES snapshot,
    path text COLLATE "C" NOT NULL,
    etag text NOT NULL,
    size_bytes bigint NOT NULL,
    registered_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (snapshot_id, path)
);
COMMENT ON TABLE shard IS 'Files of a snapshot, as they were when registered; a file that changes or vanishes later is an error';
COMMENT ON COLUMN shard.shard_id IS 'Surrogate key';
COMMENT ON COLUMN shard.snapshot_id IS 'Snapshot it belongs to';
COMMENT ON COLUMN shard.path IS 'Path relative to the corpus URI, snapshot directory included';
COMMENT ON COLUMN shard.etag IS 'Tag of the content, from the object store';
COMMENT ON COLUMN shard.size_bytes IS 'Size of the file in bytes, compressed as it is';
COMMENT ON COLUMN shard.registered_at IS 'When the shard was first registered';

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
    embedding_key text,
    embedding_sha256 text,
    embedding_rows int,
    embedding_dim int,
    seconds double precision,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard_id, encoder_id, quality_model_id),
    CONSTRAINT done_adds_up CHECK (
        state <> 'done'
        OR (documents IS NOT NULL AND scored IS NOT NULL AND quarantined IS NOT NULL AND tokens IS NOT NULL
            AND documents = scored + quarantined
            AND embedding_key IS NOT NULL AND embedding_sha256 IS NOT NULL
            AND embedding_rows = scored AND embedding_dim > 0 AND error IS NULL)
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
COMMENT ON COLUMN shard_score.embedding_key IS 'Where the embeddings lie, below the state root';
COMMENT ON COLUMN shard_score.embedding_sha256 IS 'SHA-256 of the embedding file';
COMMENT ON COLUMN shard_score.embedding_rows IS 'Vectors in the embedding file';
COMMENT ON COLUMN shard_score.embedding_dim IS 'Dimensions of a vector';
COMMENT ON COLUMN shard_score.seconds IS 'Time the worker took';
COMMENT ON COLUMN shard_score.updated_at IS 'Last change of this row';

-- No index on content_hash: exact duplicates are found by one hash aggregation over the snapshots, which is faster than walking
-- such an index, and keeping it up to date would take half the speed of loading.
CREATE TABLE sample (
    row bigint NOT NULL,
    content_hash uuid NOT NULL,
    snapshot_id int NOT NULL,
    shard_id int NOT NULL,
    domain_id int NOT NULL,
    n_tokens int NOT NULL,
    n_bytes int NOT NULL,
    doc_id text,
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
COMMENT ON COLUMN quality_score.quality IS 'Overall quality, 0 to 10';
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
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (state = 'fitted' OR (diversity_low IS NOT NULL AND diversity_high IS NOT NULL))
);
ALTER TABLE corpus ADD CONSTRAINT corpus_current_cluster_model_fkey FOREIGN KEY (current_cluster_model) REFERENCES cluster_model;
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
COMMENT ON COLUMN cluster_model.created_at IS 'When it was fitted';

CREATE TABLE cluster (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    cluster int NOT NULL,
    size bigint NOT NULL,
    compactness double precision NOT NULL,
    separation double precision NOT NULL,
    diversity double precision NOT NULL,
    exemplars jsonb,
    PRIMARY KEY (cluster_model_id, cluster)
);
COMMENT ON TABLE cluster IS 'Clusters of a measured model; their diversity is that of every member';
COMMENT ON COLUMN cluster.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN cluster.cluster IS 'Number of the cluster in its model, from 0';
COMMENT ON COLUMN cluster.size IS 'Members over the measured snapshots';
COMMENT ON COLUMN cluster.compactness IS 'Mean distance of the members to the centroid';
COMMENT ON COLUMN cluster.separation IS 'Mean distance of the centroid to the others';
COMMENT ON COLUMN cluster.diversity IS 'compactness x separation, normalised to 0..1 with the model''s bounds';
COMMENT ON COLUMN cluster.exemplars IS 'Documents that stand for the cluster, if they were chosen';

CREATE TABLE shard_assignment (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    shard_id int NOT NULL REFERENCES shard,
    state text NOT NULL CHECK (state IN ('pending', 'done', 'failed')),
    attempts int NOT NULL DEFAULT 0,
    error text,
    embedding_sha256 text,
    rows int,
    noise_rows int,
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_model_id, shard_id),
    CHECK (state <> 'done' OR (embedding_sha256 IS NOT NULL AND rows IS NOT NULL AND noise_rows BETWEEN 0 AND rows)),
    CHECK (state <> 'failed' OR error IS NOT NULL)
);
COMMENT ON TABLE shard_assignment IS 'The ledger of assignment: what became of each shard under each cluster model';
COMMENT ON COLUMN shard_assignment.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN shard_assignment.shard_id IS 'Shard';
COMMENT ON COLUMN shard_assignment.state IS 'pending: begun, not finished; done; failed';
COMMENT ON COLUMN shard_assignment.attempts IS 'How often assignment was begun';
COMMENT ON COLUMN shard_assignment.error IS 'Why it failed';
COMMENT ON COLUMN shard_assignment.embedding_sha256 IS 'Embedding file that was assigned; another one now makes this row stale';
COMMENT ON COLUMN shard_assignment.rows IS 'Samples assigned';
COMMENT ON COLUMN shard_assignment.noise_rows IS 'Of these, farther from their centroid than its radius';
COMMENT ON COLUMN shard_assignment.updated_at IS 'Last change of this row';

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

CREATE TABLE mixture (
    mixture_id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    version int NOT NULL CHECK (version > 0),
    corpus_id int NOT NULL REFERENCES corpus,
    manifest_uri text NOT NULL,
    content_digest text NOT NULL,
    config jsonb NOT NULL,
    policy text NOT NULL,
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
    encoder_id int NOT NULL REFERENCES encoder,
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    parent_version int,
    airflow_run_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (name, version),
    CONSTRAINT mixture_adds_up CHECK (
        documents = scored + quarantined + duplicates AND eligible <= scored AND samples <= eligible
    )
);
COMMENT ON TABLE mixture IS 'Published versions of mixtures';
COMMENT ON COLUMN mixture.mixture_id IS 'Surrogate key';
COMMENT ON COLUMN mixture.name IS 'Name under which versions are published';
COMMENT ON COLUMN mixture.version IS 'Version, from 1';
COMMENT ON COLUMN mixture.corpus_id IS 'Corpus it was made from';
COMMENT ON COLUMN mixture.manifest_uri IS 'Where the manifest lies';
COMMENT ON COLUMN mixture.content_digest IS 'Digest of the manifest''s parts; equal digests are equal mixtures';
COMMENT ON COLUMN mixture.config IS 'The run''s configuration';
COMMENT ON COLUMN mixture.policy IS 'Policy that made the weights';
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
    PRIMARY KEY (mixture_id, snapshot_id, shard_id, row)
) PARTITION BY LIST (mixture_id);
COMMENT ON TABLE mixture_sample IS 'Samples of a mixture; a sample that is not in it has no row';
COMMENT ON COLUMN mixture_sample.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN mixture_sample.weight IS 'Weight the policy gave it';
COMMENT ON COLUMN mixture_sample.mixture_id IS 'Mixture; partition key';
COMMENT ON COLUMN mixture_sample.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN mixture_sample.shard_id IS 'Shard';
COMMENT ON COLUMN mixture_sample.copies IS 'Copies of the sample, at least 1';
