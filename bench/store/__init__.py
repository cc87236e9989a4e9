"""Run folders on this host: write, find, read, resume, copy and import them."""
