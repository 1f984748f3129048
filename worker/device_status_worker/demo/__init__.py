"""A sample file goes through real workers against local servers: `make demo`, extra `[demo]`.

Read `__main__.py` first: it is the demo from beginning to end.
"""
