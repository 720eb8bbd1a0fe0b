"""Commands in processes that can be left, cancelled and found again."""
