"""From matrix.toml to a plan: validated configuration, columns, preflight rules and locks. Knows no engine."""
