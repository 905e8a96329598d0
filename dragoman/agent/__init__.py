"""`dragoman agent`: keeps a workload's key in its pod, for those who do not want the control plane to make it.

What runs all the time has no library but Python's own and holds no key; a child process makes each key, has it
certified, writes the files and ends.
"""
