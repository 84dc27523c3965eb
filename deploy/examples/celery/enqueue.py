"""Send a task under a token, which comes on stdin: python enqueue.py 2026-11 < token."""

import sys

from tasks import write_report

from rescind import Allowed, Denied, Verifier
from rescind.integrations.celery import job_headers

match Verifier.attach().check(sys.stdin.read().strip(), require={"reports:write"}):
    case Allowed(record):
        result = write_report.apply_async([sys.argv[1]], headers=job_headers(record))
        sys.stdout.write(f"{result.get(timeout=30)}\n")
    case Denied(reason):
        sys.exit(f"denied: {reason}")
