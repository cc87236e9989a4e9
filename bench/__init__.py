"""tfrepro: which TensorFlow x CUDA pair gives the same bits again, and at what price."""

__version__ = "0.1.0"
