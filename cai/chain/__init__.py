"""Chains of `cai` commands: each in a process and a folder of its own, with a record of what ran.

A process for each step, so that nothing of a step's models stays in memory, and a step can be run
again by hand as it stands in the record.
"""
