"""Bytes -> uint8 RGB; the square on the picture; the graph's resize; large pictures in tiles."""
