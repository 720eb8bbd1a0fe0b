"""What every room may use: files that appear whole or not at all, the time, CSV cells, progress."""
