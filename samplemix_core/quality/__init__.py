"""Text -> quality: features measured over Arrow buffers, and a composite score on the seven-dimension rubric."""

from samplemix_core.quality.composite import QualityScores, composite_model, score_quality

__all__ = ["QualityScores", "composite_model", "score_quality"]
