"""From matrix.toml to columns: validated specification, selection, preflight and locks. Knows no engine."""
