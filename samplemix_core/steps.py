"""The steps of a run and the tasks of upkeep: ordered, typed tables that the command line and Airflow's DAGs are built from.

Light: DAG files import it each time they are parsed. A step's function is named here and imported where it runs.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum

GROUPS = "groups"
"""The result that mapped steps are mapped over."""


class Pool(Enum):
    """A bound on how many tasks of a kind run at once in Airflow: its name, its initial slots, and its purpose."""

    GPU = ("samplemix_gpu", 16, "Tasks that embed, on GPUs where Dask's workers have them: score, estimate")
    WORKERS = ("samplemix_workers", 16, "Tasks that keep Dask's workers busy without a GPU: fit, assign, train")
    DATABASE = ("samplemix_database", 4, "Tasks that read or write much of Postgres: mix, publish, report, maintenance")

    def __init__(self, pool: str, slots: int, description: str) -> None:
        self.pool, self.slots, self.description = pool, slots, description


class News(StrEnum):
    """Results that a step announces to DAGs that wait for them, as Airflow assets. SCORES are announced crawl by crawl."""

    SCORES = "samplemix_scores"
    CLUSTERS = "samplemix_clusters"
    MIXTURES = "samplemix_mixtures"


class DryRun(Enum):
    """Whether a step is done in a dry run."""

    SKIPPED = "skipped"
    DONE = "done"
    ITS_END = "its end"
    """Done only in dry runs, as their last step."""


@dataclass(frozen=True)
class Task:
    """A task of a DAG. For people, `what` says what it does, and `again` what happens when it is repeated."""

    name: str
    what: str
    again: str


@dataclass(frozen=True)
class Step(Task):
    """A step: its function, "module:function" of samplemix_core.pipeline, and the results of earlier steps that it takes, by name.

    The function takes the run and those results. If `mapped`, it also takes a `group` of the shards, and is called once per group.
    `gives` is the name of its result.
    """

    function: str
    takes: tuple[str, ...]
    gives: str
    mapped: bool = False
    pool: Pool | None = None
    announces: News | None = None
    dry_run: DryRun = DryRun.SKIPPED


STEPS = (
    Step(
        name="register",
        function="register:register",
        takes=(),
        gives="registered",
        what="lists the shards of the snapshots, writes them into the ledger",
        again="lists again; a replaced file is another shard",
        dry_run=DryRun.DONE,
    ),
    Step(
        name="shard_groups",
        function="register:shard_groups",
        takes=("registered",),
        gives=GROUPS,
        what="splits the shards into groups, one mapped task each",
        again="splits again, the same way",
    ),
    Step(
        name="score",
        function="score:score",
        takes=("registered",),
        gives="scored",
        what="scores blocks of shards, one Dask task each: tokens, quality, embedding",
        again="blocks that are done are skipped",
        mapped=True,
        pool=Pool.GPU,
    ),
    Step(
        name="audit",
        function="audit:audit_quality",
        takes=("registered",),
        gives="audited",
        what="stops the run if the quality model reflects only sources or lengths, or nothing",
        again="looks again",
    ),
    Step(
        name="check_loss",
        function="score:check_loss",
        takes=("registered",),
        gives="loss",
        what="stops the run if more than max_loss of the documents was set aside",
        again="counts again",
        announces=News.SCORES,
    ),
    Step(
        name="decontaminate",
        function="decontaminate:decontaminate",
        takes=("registered",),
        gives="decontaminated",
        what="finds documents that hold something of the benchmarks that are to be kept out",
        again="shards that were searched are skipped",
        pool=Pool.WORKERS,
    ),
    Step(
        name="near_duplicates",
        function="near_duplicates:find_near_duplicates",
        takes=("registered",),
        gives="near_duplicates",
        what="finds documents that share most of their wording, in all crawls of the corpus",
        again="shards that are signed and compared are skipped",
        pool=Pool.WORKERS,
    ),
    Step(
        name="fit_diversity",
        function="fit:fit_diversity",
        takes=("registered",),
        gives="cluster_model",
        what="fits clusters on a stratified sample",
        again="an identical fit is reused",
        pool=Pool.WORKERS,
    ),
    Step(
        name="assign",
        function="assign:assign_clusters",
        takes=("registered", "cluster_model"),
        gives="assigned",
        what="finds the nearest cluster of each document, one Dask task a shard",
        again="shards that are done are skipped",
        mapped=True,
        pool=Pool.WORKERS,
    ),
    Step(
        name="measure_clusters",
        function="assign:measure_clusters",
        takes=("registered", "cluster_model"),
        gives="measured",
        what="compactness, separation and diversity of each cluster",
        again="computed again, same result",
        announces=News.CLUSTERS,
    ),
    Step(
        name="check_drift",
        function="drift:check_drift",
        takes=("registered", "cluster_model"),
        gives="drift",
        what="says how far new crawls are from the sample that the clusters were fitted on",
        again="crawls that were compared are looked up",
        pool=Pool.DATABASE,
    ),
    Step(
        name="mix",
        function="mix:mix",
        takes=("registered", "cluster_model"),
        gives="draft",
        what="weights and copies under the token budget, written as a draft",
        again="computed again, same result",
        pool=Pool.DATABASE,
    ),
    Step(
        name="gate",
        function="gate:gate",
        takes=("draft",),
        gives="gated",
        what="with `gate`, stops the run if a small model learns worse from the draft than from all documents alike, on any target",
        again="what was learnt is looked up",
        pool=Pool.WORKERS,
    ),
    Step(
        name="publish",
        function="publish:publish",
        takes=("draft",),
        gives="published",
        what="makes the draft the next version of the mixture",
        again="the same content is the same version",
        pool=Pool.DATABASE,
    ),
    Step(
        name="verify",
        function="publish:verify",
        takes=("published",),
        gives="verified",
        what="reads the published version back and adds it up",
        again="reads again",
    ),
    Step(
        name="report_changes",
        function="changes:report_changes",
        takes=("published", "verified"),
        gives="changes",
        what="says what the version changed against its parent: samples, domains, what was kept of a new crawl",
        again="says it again",
        pool=Pool.DATABASE,
        announces=News.MIXTURES,
    ),
)

ESTIMATE = Step(
    name="estimate",
    function="estimate:estimate",
    takes=("registered",),
    gives="estimated",
    what="in a dry run, which ends with it: counts, and from a sample the tokens, the time and the space that scoring takes",
    again="estimates again",
    pool=Pool.GPU,
    dry_run=DryRun.ITS_END,
)
GATHER = Step(
    name="gather",
    function="gather:gather",
    takes=("registered",),
    gives="registered",
    what="takes all crawls of the corpus that are scored, so that the version covers all of them",
    again="gathers again: by then there may be more",
)
REPORT_CLUSTERS = Step(
    name="report_clusters",
    function="drift:report_clusters",
    takes=("registered", "cluster_model"),
    gives="reclustered",
    what="says what clusters that were fitted again change: names, d, the next version; which is then made with them",
    again="says it again; what was chosen meanwhile stays",
    pool=Pool.DATABASE,
)
PUBLISH_GATHERED = Step(
    name="publish",
    function="gather:publish_gathered",
    takes=("draft", "cluster_model"),
    gives="published",
    what="makes the draft the next version of the mixture, mixed again if other crawls are ready by then",
    again="the same content is the same version",
    pool=Pool.DATABASE,
)


BY_FUNCTION = {step.function: step for step in (*STEPS, ESTIMATE, GATHER, REPORT_CLUSTERS, PUBLISH_GATHERED)}
"""Every step. Two have the same name: a DAG has one or the other."""


DRY_RUN = tuple(step for step in (*STEPS, ESTIMATE) if step.dry_run is not DryRun.SKIPPED)
"""The steps of a dry run."""


def _named(*names: str) -> tuple[Step, ...]:
    return tuple(step for step in STEPS if step.name in names)


DECONTAMINATE, NEAR_DUPLICATES, ASSIGN, CHECK_DRIFT, MIX, GATE, PUBLISH = _named(
    "decontaminate", "near_duplicates", "assign", "check_drift", "mix", "gate", "publish"
)
_DIVERSITY = (GATHER, *_named("decontaminate", "near_duplicates", "fit_diversity", "assign", "measure_clusters", "check_drift"))
SCORE_CRAWL = _named("register", "shard_groups", "score", "audit", "check_loss")
FIT_DIVERSITY = (*_named("register", "shard_groups"), *_DIVERSITY, REPORT_CLUSTERS)
BUILD_MIXTURE = (
    *_named("register", "shard_groups"),
    *_DIVERSITY,
    *_named("mix", "gate"),
    PUBLISH_GATHERED,
    *_named("verify", "report_changes"),
)
LAND_CRAWL = (*SCORE_CRAWL, *_DIVERSITY, *_named("mix", "gate"), PUBLISH_GATHERED, *_named("verify", "report_changes"))
"""The other DAGs, each a sequence of the table's steps."""


UPKEEP = (
    Task("drafts", "removes unpublished drafts of mixtures that are older than a week", "removes what is left"),
    Task(
        "versions",
        "with `keep_versions`, drops the samples of older versions from Postgres; their manifests and figures stay",
        "goes on",
    ),
    Task("models", "with `unused_days`, drops scores and clusters by models that no kept version was made with", "goes on"),
    Task(
        "crawls",
        "with `unused_days`, drops what is stored of removed crawls that no kept version holds. In Airflow, also lets crawls land"
        " again whose run was deleted before it published",
        "goes on",
    ),
    Task("corpora", "removes corpora without a score whose place is now read with other fields", "removes what is left"),
    Task(
        "orphans",
        "counts embeddings and cluster models, older than a day, that no score refers to; with `delete_orphans`, deletes them",
        "goes on",
    ),
    Task("statistics", "refreshes the statistics that Postgres plans its queries by", "refreshes them again"),
)
"""Functions of samplemix_core.operations.maintenance, in the order in which they are called: the files of dropped scores are then
orphans."""
