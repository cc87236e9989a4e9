"""Renders the view model as terminal text, Markdown and JUnit XML."""
