"""What this host knows of its GPUs, asked of NVML: facts before a run, a guard during it."""
