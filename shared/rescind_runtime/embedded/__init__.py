"""Postgres, NATS and Valkey on this machine, as children that end with us, inside one directory.

Start reading at `children.py`; `home.py` owns the directory, and each server has its own file.
"""
