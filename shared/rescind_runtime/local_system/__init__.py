"""The system of `rescind up`: Postgres, NATS, Valkey, an authority and sidecars on this machine.

Start reading at `stack.py`, which starts all of it inside one directory; `home.py` owns the
directory, and each server has its own file. No service imports this package.
"""
