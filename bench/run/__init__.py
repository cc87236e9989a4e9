"""One run over the matrix: scheduling, rounds, resuming and progress."""
