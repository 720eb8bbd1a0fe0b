"""Level maps -> anomaly map -> image score; the gate; the detector that composes all."""
