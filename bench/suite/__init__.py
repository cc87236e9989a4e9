"""All that runs inside a column: driver, worker, kernels and the record they write.

Imports the standard library, numpy and tensorflow, and nothing else of the package:
this folder is carried into every container and virtual environment as it is.
"""
