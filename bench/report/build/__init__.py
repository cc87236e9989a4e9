"""Builds the view model from evaluated results."""
