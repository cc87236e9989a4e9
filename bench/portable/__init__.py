"""Away from home: plays rounds where the root cannot be, and brings their records back.

It travels beside the suite, in a bundle for a host without a network and in ``tfrepro local``. The standard library and
``bench.suite`` only, in the syntax of Python 3.9. What it writes is a run folder as ``bench.store`` reads it.
"""
