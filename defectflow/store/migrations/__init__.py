"""How each released schema becomes the next. Only forwards: a log is never taken back."""
