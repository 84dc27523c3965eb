"""Enqueue a job under a token, which comes on stdin: python enqueue.py 2026-11 < token."""

import asyncio
import sys

from arq import create_pool
from jobs import WorkerSettings

from rescind import Allowed, Denied, Verifier
from rescind.integrations.arq import job_arguments


async def main(month):
    verdict = await Verifier.attach().acheck(sys.stdin.read().strip(), require={"reports:write"})
    match verdict:
        case Allowed(record):
            pool = await create_pool(WorkerSettings.redis_settings)
            job = await pool.enqueue_job("write_report", month, **job_arguments(record))
            sys.stdout.write(f"{await job.result(timeout=30)}\n")
        case Denied(reason):
            sys.exit(f"denied: {reason}")


asyncio.run(main(sys.argv[1]))
