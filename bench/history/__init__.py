"""The history of runs: an index over run folders, what changed from night to night, and what deserves an alarm."""
