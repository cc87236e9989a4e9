"""Build the view model from evaluated results."""
