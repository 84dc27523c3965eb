"""`rescind bench`: measure the figures of design section 11, each against its alternative.

Start reading at `table.py`, which lists the measurements and their targets.
"""
