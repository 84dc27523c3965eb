"""`rescind bench`: the numbers of design section 11, each against its real alternative.

Start reading at `table.py`, the table of what is measured and which target it has.
"""
