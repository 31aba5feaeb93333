"""A domain before and after mixing. Light: readers of manifests import it, without what computes it."""

from pydantic import Field

from samplemix_core.config import FrozenModel


class DomainShare(FrozenModel):
    """One domain's part of the source and of the mixture. Shares are of tokens and add up to 1 over the domains."""

    domain: str
    source_samples: int = Field(ge=0, description="Eligible samples of the domain")
    source_tokens: int = Field(ge=0, description="Their tokens, each sample once")
    source_share: float = Field(ge=0, le=1, description="Of all eligible tokens")
    samples: int = Field(ge=0, description="Samples in the mixture: those with a copy or more")
    copies: int = Field(ge=0, description="Their copies")
    mixture_tokens: int = Field(ge=0, description="Tokens of all copies")
    mixture_share: float = Field(ge=0, le=1, description="Of the mixture's tokens")
    mean_copies: float = Field(ge=0, description="Copies over eligible samples")
