"""`rescind demo`: measure how a revocation arrives at three services.

Start reading at `single_revocation.py`; `agents/` and `partition/` are the other two scenarios.
Each process of a scenario is a module here.
"""
