"""Renders the view model as one HTML file."""
