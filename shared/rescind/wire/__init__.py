"""Messages as bytes. Every message is a msgpack array `[tag, *fields]`, and append-only.

A field is never removed, reordered or given another meaning. A new field goes to the end, and a
reader ignores the fields that it does not support. Tests pin the bytes.
"""
