"""Code that measures with the standard library and ``bench.suite`` alone, in the syntax of Python 3.9.

It is packed into bundles for hosts without a network, and it is what ``tfrepro local`` runs. ``bench.store`` and
``bench.engines`` share its run folders, atomic writes and locks, so that there is one implementation of each.
"""
