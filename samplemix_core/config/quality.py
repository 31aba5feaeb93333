"""How quality models are made: what annotators are asked, and how heads and encoders are trained on their labels.

Light on purpose: DAG files import it.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.frozen import NAME, IdentifiedModel


class AnnotationConfig(IdentifiedModel):
    """Which documents a language model is asked to judge, and how it is asked. The endpoint and its key are not part of it.

    Its identity is that of the annotator: everything that decides an answer, except the prompt, which is made from the rubric.
    """

    FIRST_FIELDS = frozenset({"model", "most_characters", "response_format", "temperature"})
    NOT_IDENTITY = frozenset(
        {
            *("corpus", "snapshots", "annotator", "rubric", "documents", "strategy", "seed", "most_output_tokens", "concurrency"),
            *("requests_per_minute", "timeout_seconds", "attempts", "first_wait_seconds", "retry_refused"),
            *("input_price", "output_price", "most_cost"),
        }
    )

    corpus: str = Field(min_length=1, description="A corpus that has been scored, by name or URI")
    snapshots: tuple[str, ...] = Field((), description="Only of these snapshots")
    model: str = Field(min_length=1, description="Name of the model at its endpoint")
    annotator: str | None = Field(None, description="Name of the annotator; by default the model's, with a digest of the questions")
    rubric: dict[str, Any] | None = Field(None, description="Your own rubric; by default the paper's seven dimensions")
    documents: int = Field(1000, ge=1, description="Most documents to ask about")
    strategy: Literal["stratified", "uniform"] = Field(
        "stratified",
        description="stratified takes some of each domain and the rest in proportion; uniform takes any documents",
    )
    seed: int = Field(
        42, ge=0, lt=2**53, description="Seed of the sample; with the same seed, a larger sample contains most of a smaller one"
    )
    most_characters: int = Field(20_000, ge=100, description="Only the beginning of a longer document is shown")
    response_format: Literal["json_schema", "json_object", "text"] = Field(
        "json_schema", description="How to ask for the form of answers; text if the endpoint supports nothing else"
    )
    temperature: float | None = Field(0.0, ge=0, le=2, description="Sampling temperature; null if the model takes none")
    most_output_tokens: int = Field(1000, ge=16)
    concurrency: int = Field(16, ge=1, le=1024, description="Most questions in flight at once")
    requests_per_minute: int | None = Field(None, ge=1, description="Most requests a minute; no limit by default")
    timeout_seconds: float = Field(120, gt=0, description="For a complete answer, even if it arrives slowly")
    attempts: int = Field(5, ge=1, description="Attempts before a document is set aside")
    first_wait_seconds: float = Field(1.0, ge=0, description="Wait before asking again after no answer; doubles each time")
    retry_refused: bool = Field(False, description="Also ask about documents that were set aside before")
    input_price: float | None = Field(None, ge=0, description="Price of a million input tokens, for the cost estimate")
    output_price: float | None = Field(None, ge=0, description="Price of a million output tokens")
    most_cost: float | None = Field(None, gt=0, description="Stop once the questions have cost this much; needs both prices")

    @model_validator(mode="after")
    def _cost_needs_prices(self) -> Self:
        if self.most_cost is not None and not (self.input_price and self.output_price):
            raise ValueError("most_cost can't be kept without input_price and output_price")
        return self


class FineTuningConfig(IdentifiedModel):
    """How an encoder is trained together with its heads: on a GPU in minutes, on a CPU for small models and few labels."""

    FIRST_FIELDS = frozenset(
        {"epochs", "learning_rate", "warmup", "weight_decay", "batch_tokens", "evaluations_per_epoch", "patience"}
    )

    epochs: int = Field(4, ge=1, le=100, description="Most passes over the documents")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="Peak rate; it rises during warm-up, then falls to zero")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the updates over which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, le=1)
    batch_tokens: int = Field(4096, ge=64, description="Tokens in a batch, including padding, or one longer document")
    evaluations_per_epoch: int = Field(2, ge=1, le=1000, description="How often to judge held-out documents and save everything")
    patience: int = Field(3, ge=1, description="Stop after this many evaluations in a row without improvement")


class TrainingConfig(IdentifiedModel):
    """How a quality model is trained on annotators' labels."""

    FIRST_FIELDS = frozenset({"name", "annotators", "embedding", "vectors", "features", "folds", "seed", "finetune"})
    NOT_IDENTITY = frozenset({"baselines"})

    name: str = Field(pattern=NAME.pattern, description="Name of the quality model; training again makes its next version")
    annotators: tuple[str, ...] = Field(
        min_length=1, description="Annotators to learn from, all of one rubric; a text gets their mean"
    )
    embedding: EmbeddingConfig = Field(EmbeddingConfig(), description="The encoder whose vectors the heads read")
    vectors: bool = Field(True, description="Read vectors; without them, only the composite score's features are weighed")
    features: bool = Field(True, description="Also read the text's measured features, as the composite score does")
    folds: int = Field(5, ge=2, le=50, description="Folds for judging documents that were not trained on")
    seed: int = Field(42, ge=0, lt=2**53, description="Seed of the folds and of resampling")
    finetune: FineTuningConfig | None = Field(
        None,
        description="Also train the encoder, which then belongs to the model; by default only heads are trained",
    )
    baselines: bool = Field(True, description="Also train plain classification, ridge and gradient boosting for comparison")

    @model_validator(mode="after")
    def _something_to_read(self) -> Self:
        if not self.vectors and (not self.features or self.finetune is not None):
            raise ValueError("without vectors, features are what is read, and no encoder is tuned")
        return self
