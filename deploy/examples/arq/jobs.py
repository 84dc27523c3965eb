"""Jobs of arq that need a token: arq jobs.WorkerSettings."""

import asyncio
import os

from arq.connections import RedisSettings

from rescind.integrations.arq import requires


@requires("reports:write")
async def write_report(ctx, month):
    return f"{month} for {ctx['rescind'].subject}"


@requires("reports:write", no_lease_delay=1)
async def write_all_reports(ctx, months):
    for month in range(months):
        await ctx["redis"].set(f"progress:{ctx['job_id']}", month)
        await asyncio.sleep(0.1)  # the work: cancelled where it stands


class WorkerSettings:
    functions = (write_report, write_all_reports)
    redis_settings = RedisSettings.from_dsn(os.environ["BROKER_URL"])
