"""Where a column runs: one module per engine behind one Protocol. Types of docker-py do not leak out."""
