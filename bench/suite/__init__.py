"""The code that runs inside a column's environment: driver, worker, kernels and the record they write.

It imports only the standard library, NumPy and TensorFlow, and nothing else of the package, because this folder is
copied unchanged into every container and virtual environment.
"""
