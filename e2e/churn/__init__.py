"""Random valid changes of a mesh under load, and the judgement of every request: see `e2e/test_under_load.py`."""
