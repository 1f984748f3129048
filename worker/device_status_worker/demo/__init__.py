"""A sample file goes through real workers against local servers: `make demo`, extra `[demo]`.

Read `run.py` first: it is the demo from beginning to end.
"""
