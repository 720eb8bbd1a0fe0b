"""One level's density: whitening, condition, flow; training, checkpoints, health, samples."""
