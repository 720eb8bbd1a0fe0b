"""Good scores -> threshold and guarantee; a score -> p-value and verdict; regions, overlay."""
