"""report.json: the serialized view model, and its JSON Schema."""
