"""The checks of `rescind doctor`, one file for each part.

A finding says what is wrong and what to do. Nothing here changes anything, and no finding quotes a
secret.
"""
