"""tfrepro: which TensorFlow x CUDA pair gives the same bits again, and at what overhead."""

__version__ = "0.2.0"
