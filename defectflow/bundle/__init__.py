"""A bundle on disk: card, files, checksums, signature, and the verdict's nodes in the graph."""
