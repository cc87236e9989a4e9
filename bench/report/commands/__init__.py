"""What the commands choose, compare, diff and kernels print."""
