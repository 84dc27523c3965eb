"""`rescind bench`: the numbers of design section 11, each against its real alternative.

Start reading at `table.py`, which lists the measurements and their targets.
"""
