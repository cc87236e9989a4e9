"""Run folders on disk: atomic writes, resume keys, the lock of the reports folder."""
