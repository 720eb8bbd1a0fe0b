"""A timm backbone, frozen -> levels of embeddings: weights, cache, extraction, adaptation."""
