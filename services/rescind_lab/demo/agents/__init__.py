"""`rescind demo agents`: one of six agents goes rogue, with its descendants."""
