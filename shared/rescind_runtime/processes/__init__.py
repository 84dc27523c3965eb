"""Child processes that end with their parent. Start reading at `child_process.py`."""
