"""`rescind demo agents`: one of several agents goes rogue, with what it delegated."""
