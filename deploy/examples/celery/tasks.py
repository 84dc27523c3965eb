"""Tasks of Celery that need a token: celery -A tasks worker -P threads."""

import os
import time

from celery import Celery

from rescind.integrations.celery import RescindTask

app = Celery("tasks", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])


@app.task(base=RescindTask, bind=True, require={"reports:write"})
def write_report(self, month):
    return f"{month} for {self.record.subject}"


@app.task(base=RescindTask, bind=True, require={"reports:write"}, no_lease_delay=1)
def write_all_reports(self, months):
    for month in range(months):
        self.update_state(state="WORKING", meta={"month": month})
        time.sleep(0.1)  # the work: interrupted where it stands
