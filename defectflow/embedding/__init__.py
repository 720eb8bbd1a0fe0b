"""A timm backbone, frozen -> levels of embeddings: weights, cache, extraction, adaptation."""

from defectflow.embedding.adapt import adapt, measure_statistics
from defectflow.embedding.align import Alignment, Lie
from defectflow.embedding.backbone import Backbone, Weights, builtin_weights
from defectflow.embedding.cache import EmbeddingCache, EmbeddingKey, Levels
from defectflow.embedding.embedding import Embedding, build_embedding, geometry_of, tiling_of
from defectflow.embedding.extract import (
    BATCH_PICTURES,
    embedding_key,
    extract,
    extract_tiles,
    level_batch,
    sampled_places,
)
from defectflow.embedding.vectors import Vectors

__all__ = [
    "BATCH_PICTURES",
    "Alignment",
    "Backbone",
    "Embedding",
    "EmbeddingCache",
    "EmbeddingKey",
    "Levels",
    "Lie",
    "Vectors",
    "Weights",
    "adapt",
    "build_embedding",
    "builtin_weights",
    "embedding_key",
    "extract",
    "extract_tiles",
    "geometry_of",
    "level_batch",
    "measure_statistics",
    "sampled_places",
    "tiling_of",
]
