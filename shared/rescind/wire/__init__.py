"""Messages as bytes. Every message is a msgpack array `[tag, *fields]`, and append-only.

A field is never removed, reordered or given another meaning; a new one goes to the end, and a
reader takes what it knows and leaves the rest. The bytes are pinned by tests.
"""
