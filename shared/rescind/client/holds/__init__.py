"""Holds, which cancel work in progress when its token is denied."""
