"""Renders the view model as report.json and generates its JSON Schema."""
