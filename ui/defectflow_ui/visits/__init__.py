"""One browser at the station: its session, tabs and role, what it sends, and what it may fetch."""
