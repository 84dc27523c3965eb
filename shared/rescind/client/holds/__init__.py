"""Follow work in progress, and cancel it once its token is denied."""
