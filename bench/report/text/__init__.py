"""Thin renderers of the view as text: terminal, Markdown and JUnit XML."""
