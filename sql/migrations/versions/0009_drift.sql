ALTER TABLE cluster_model
    ADD COLUMN parent_id int REFERENCES cluster_model,
    ADD COLUMN profiles jsonb,
    ADD COLUMN change jsonb,
    ADD COLUMN health jsonb,
    ADD COLUMN mapped text COLLATE "C";
COMMENT ON COLUMN cluster_model.mapped IS 'Digest of the shards and embeddings that table sample_map was made from';
COMMENT ON COLUMN cluster_model.health IS 'Figures of each fit, how far the fits agree, and what d goes with on the fit''s sample: the clusters'' own factors, length, language, content type';
COMMENT ON COLUMN cluster_model.parent_id IS 'Cluster model before it, whose clusters'' names it carries on; empty for a corpus''s first';
COMMENT ON COLUMN cluster_model.profiles IS 'The fit''s sample as drift sees it: snapshots, and by language documents in each cluster and at each distance';
COMMENT ON COLUMN cluster_model.change IS 'How d of the fit''s sample changed against the parent: rank correlation, mean change, by language; and what the next version of a mixture would hold';

ALTER TABLE corpus ADD COLUMN next_cluster_model int REFERENCES cluster_model, ADD COLUMN clusters_chosen_at timestamptz;
COMMENT ON COLUMN corpus.clusters_chosen_at IS 'When the clusters of the next version were chosen last';
COMMENT ON COLUMN corpus.next_cluster_model IS 'Cluster model of the next version, after a refit; empty where that is the current one';

ALTER TABLE cluster ADD COLUMN name text COLLATE "C";
COMMENT ON COLUMN cluster.name IS 'What it is called in this and later models: the cluster_model_id and the number that it was born with';
UPDATE cluster SET name = cluster_model_id || '.' || cluster;

CREATE TABLE cluster_heir (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    fate text NOT NULL COLLATE "C",
    parent int,
    cluster int,
    shared real NOT NULL
);
CREATE INDEX ON cluster_heir (cluster_model_id);
COMMENT ON TABLE cluster_heir IS 'What a refit made of clusters: each of the new model''s, and those of its parent without an heir';
COMMENT ON COLUMN cluster_heir.cluster_model_id IS 'The new cluster model';
COMMENT ON COLUMN cluster_heir.fate IS 'kept; split: most of it was in the parent; born: from nowhere in particular; merged: most of the parent is in the cluster; died';
COMMENT ON COLUMN cluster_heir.parent IS 'Number of the parent''s cluster; empty for one that is born';
COMMENT ON COLUMN cluster_heir.cluster IS 'Number of the new model''s cluster; empty for one that died';
COMMENT ON COLUMN cluster_heir.shared IS 'Documents of the fit''s sample that are in both, of those that are in either';

CREATE TABLE crawl_drift (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    snapshot_id int NOT NULL REFERENCES snapshot,
    language text NOT NULL COLLATE "C",
    documents bigint NOT NULL,
    far real NOT NULL,
    far_in_sample real NOT NULL,
    distance_shift real NOT NULL,
    share_shift real NOT NULL,
    known boolean NOT NULL,
    over text[] NOT NULL,
    in_sample boolean NOT NULL,
    assigned text NOT NULL COLLATE "C",
    measured_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (cluster_model_id, snapshot_id, language)
);
COMMENT ON TABLE crawl_drift IS 'How far a crawl is from the sample that clusters were fitted on, in all and by language';
COMMENT ON COLUMN crawl_drift.cluster_model_id IS 'Cluster model';
COMMENT ON COLUMN crawl_drift.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN crawl_drift.language IS 'Language, of those with 200 documents; empty for all of the crawl';
COMMENT ON COLUMN crawl_drift.documents IS 'Documents';
COMMENT ON COLUMN crawl_drift.far IS 'Share of them that is farther from the centroid of its cluster than members are';
COMMENT ON COLUMN crawl_drift.far_in_sample IS 'The same share of the sample';
COMMENT ON COLUMN crawl_drift.distance_shift IS 'Greatest difference of the distributions of distances to the centroid (Kolmogorov-Smirnov), 0..1';
COMMENT ON COLUMN crawl_drift.share_shift IS 'Population stability index of the clusters'' shares, less what chance makes';
COMMENT ON COLUMN crawl_drift.known IS 'Whether the sample has the language; otherwise it is compared with all of the sample';
COMMENT ON COLUMN crawl_drift.over IS 'Limits that it is over, in words';
COMMENT ON COLUMN crawl_drift.in_sample IS 'Whether the sample was drawn from this crawl too, so that a refit would change little';
COMMENT ON COLUMN crawl_drift.assigned IS 'Digest of the assignments that were measured';
COMMENT ON COLUMN crawl_drift.measured_at IS 'When it was measured';

CREATE TABLE sample_map (
    cluster_model_id int NOT NULL REFERENCES cluster_model,
    snapshot_id int NOT NULL REFERENCES snapshot,
    shard_id int NOT NULL REFERENCES shard,
    row bigint NOT NULL,
    x real NOT NULL,
    y real NOT NULL,
    beginning text NOT NULL,
    PRIMARY KEY (cluster_model_id, snapshot_id, shard_id, row)
);
CREATE INDEX ON sample_map (shard_id);
COMMENT ON TABLE sample_map IS 'Some documents of a corpus on a map on which near ones are alike, for people to look at';
COMMENT ON COLUMN sample_map.cluster_model_id IS 'Cluster model whose documents they are';
COMMENT ON COLUMN sample_map.snapshot_id IS 'Snapshot';
COMMENT ON COLUMN sample_map.shard_id IS 'Shard';
COMMENT ON COLUMN sample_map.row IS 'Place in the shard, from 0';
COMMENT ON COLUMN sample_map.x IS 'Place on the map, -1 to 1';
COMMENT ON COLUMN sample_map.y IS 'As x';
COMMENT ON COLUMN sample_map.beginning IS 'The first characters of its text';
