"""A bundle -> other precisions, and other engines' forms. Never torch."""
