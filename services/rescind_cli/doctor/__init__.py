"""The checks of `rescind doctor`, one file for each part.

A finding reports what is wrong and what to do. The checks change nothing, and no finding contains a
secret.
"""
