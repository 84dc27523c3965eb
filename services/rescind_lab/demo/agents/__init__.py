"""`rescind demo agents`: one of several agents goes rogue, with the agents below it."""
