import os

from kombu import Queue


def route_task(name, args, kwargs, options, task=None, **more):
    if ":" in name:
        queue, _ = name.split(":")
        return {"queue": queue}
    return {"queue": "default"}


class Config:
    SURCHARGE = 0
    CELERY_BROKER_URL = os.environ["QUEUE_URL"]
    CELERY_RESULT_BACKEND = os.environ["RESULTS_URL"]
    CELERY_BEAT_SCHEDULE = {"tick": {"task": "low_priority:tick", "schedule": 0.5}}  # noqa: RUF012
    CELERY_TASK_DEFAULT_QUEUE = "default"
    CELERY_TASK_CREATE_MISSING_QUEUES = False
    CELERY_TASK_QUEUES = (Queue("default"), Queue("high_priority"), Queue("low_priority"))
    CELERY_TASK_ROUTES = (route_task,)
