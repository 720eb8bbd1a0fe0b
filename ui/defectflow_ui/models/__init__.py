"""The models of the station: which one judges, what its parts scored, whether production has moved."""
