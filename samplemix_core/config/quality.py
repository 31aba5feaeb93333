"""How quality models are made: what annotators are asked, and how heads and encoders are trained on what they said.

Light on purpose: DAG files import it.
"""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.frozen import NAME, IdentifiedModel


class AnnotationConfig(IdentifiedModel):
    """Which documents a language model is asked to judge, and how it is asked. Where it is and its key are not part of it.

    Its identity is that of the annotator: what decides an answer, but for the prompt, which is made from the rubric.
    """

    FIRST_FIELDS = frozenset({"model", "most_characters", "response_format", "temperature"})
    NOT_IDENTITY = frozenset(
        {
            *("corpus", "snapshots", "annotator", "rubric", "documents", "strategy", "seed", "most_output_tokens", "concurrency"),
            *("requests_per_minute", "timeout_seconds", "attempts", "first_wait_seconds", "retry_refused"),
            *("input_price", "output_price", "most_cost"),
        }
    )

    corpus: str = Field(min_length=1, description="The corpus, scored before: its name, or its URI")
    snapshots: tuple[str, ...] = Field((), description="Only of these snapshots")
    model: str = Field(min_length=1, description="Name of the model, as its endpoint knows it")
    annotator: str | None = Field(None, description="What to call the annotator; none given: the model's name, and what was asked")
    rubric: dict[str, Any] | None = Field(None, description="A rubric of your own; none given: the paper's seven dimensions")
    documents: int = Field(1000, ge=1, description="How many documents, at most")
    strategy: Literal["stratified", "uniform"] = Field(
        "stratified", description="stratified: some of every domain, the rest in proportion; uniform: every document alike"
    )
    seed: int = Field(
        42, ge=0, lt=2**53, description="Seed of the choice; with the same one, more documents hold most of the fewer"
    )
    most_characters: int = Field(20_000, ge=100, description="Of a longer document its head is shown")
    response_format: Literal["json_schema", "json_object", "text"] = Field(
        "json_schema", description="How the form of answers is asked for; text where the endpoint knows no other"
    )
    temperature: float | None = Field(0.0, ge=0, le=2, description="Of the model; null where it takes none")
    most_output_tokens: int = Field(1000, ge=16)
    concurrency: int = Field(16, ge=1, le=1024, description="Questions in flight at once, at most")
    requests_per_minute: int | None = Field(None, ge=1, description="At most so many; none given: no limit of ours")
    timeout_seconds: float = Field(120, gt=0, description="For a whole answer, however slowly it comes")
    attempts: int = Field(5, ge=1, description="How often a document is asked about before it is set aside")
    first_wait_seconds: float = Field(1.0, ge=0, description="Before asking again where there was no answer; it doubles")
    retry_refused: bool = Field(False, description="Also ask again about those that were set aside")
    input_price: float | None = Field(None, ge=0, description="Of a million tokens read, for the estimate of cost")
    output_price: float | None = Field(None, ge=0, description="Of a million tokens written")
    most_cost: float | None = Field(None, gt=0, description="End a run whose questions cost so much; takes both prices")

    @model_validator(mode="after")
    def _cost_needs_prices(self) -> Self:
        if self.most_cost is not None and not (self.input_price and self.output_price):
            raise ValueError("most_cost can't be kept without input_price and output_price")
        return self


class FineTuningConfig(IdentifiedModel):
    """How an encoder is trained together with its heads: on a GPU in minutes, on a CPU for small models and few labels."""

    epochs: int = Field(4, ge=1, le=100, description="Times that each document is seen, at most")
    learning_rate: float = Field(5e-5, gt=0, le=1, description="The highest; it rises over the warm-up, then falls to zero")
    warmup: float = Field(0.1, ge=0, lt=1, description="Part of the updates over which the learning rate rises")
    weight_decay: float = Field(0.01, ge=0, le=1)
    batch_tokens: int = Field(4096, ge=64, description="Tokens of a batch, padding counted, or one document")
    evaluations_per_epoch: int = Field(2, ge=1, le=1000, description="How often held-out documents are judged, and all is saved")
    patience: int = Field(3, ge=1, description="End after so many of these in a row that were not the best")


class TrainingConfig(IdentifiedModel):
    """How a quality model is trained on what annotators said."""

    name: str = Field(pattern=NAME.pattern, description="What the quality model is called; training again makes its next version")
    annotators: tuple[str, ...] = Field(min_length=1, description="Whose labels, all by one rubric; of a text, their mean")
    embedding: EmbeddingConfig = Field(EmbeddingConfig(), description="The encoder whose vectors are read")
    vectors: bool = Field(True, description="Read the vectors; without them, the composite score's features weighed by labels")
    features: bool = Field(True, description="Also read the measured features of the text, as the composite score does")
    folds: int = Field(5, ge=2, le=50, description="Parts that documents are dealt into, to be judged unseen")
    seed: int = Field(42, ge=0, lt=2**53, description="Seed of the parts and of resampling")
    finetune: FineTuningConfig | None = Field(
        None, description="Also train the encoder itself, which is then the model's own; none: heads on its vectors as they are"
    )
    baselines: bool = Field(True, description="Also train plain classification, ridge and gradient boosting, for comparison")

    @model_validator(mode="after")
    def _something_to_read(self) -> Self:
        if not self.vectors and (not self.features or self.finetune is not None):
            raise ValueError("without vectors, features are what is read, and no encoder is tuned")
        return self
