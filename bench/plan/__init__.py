"""From matrix.toml to cells: validated specification, selection, preflight and locks. Knows no engine."""
