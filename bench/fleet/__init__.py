"""The matrix over many hosts: cells are submitted to Slurm or sent to hosts over ssh, and their runs are put together.

A cell is one environment on one host or GPU model. All state is in a folder that the nodes share: whoever submitted may
exit, and any process can ask for the status and collect the results.
"""
