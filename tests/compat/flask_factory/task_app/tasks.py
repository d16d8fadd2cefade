import time

from celery import Task, shared_task
from flask import current_app


@shared_task(ignore_result=False)
def add(a, b):
    return a + b + current_app.config["SURCHARGE"]


@shared_task
def block():
    time.sleep(0.1)


@shared_task(bind=True, ignore_result=False)
def process(self: Task, total: int):
    for step in range(total):
        self.update_state(state="PROGRESS", meta={"current": step + 1, "total": total})
        time.sleep(0.2)
    return {"current": total, "total": total}
