"""The GPUs of this host as NVML reports them: facts before a run, and monitoring during one."""
