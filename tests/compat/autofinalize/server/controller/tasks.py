from datetime import datetime, timezone

from celery import Celery
from flask import current_app

celery = Celery(__name__, autofinalize=False)


@celery.task(bind=True)
def wait_task(self, sleep_time):
    moment = datetime.fromtimestamp(sleep_time + current_app.config["SURCHARGE"], timezone.utc)
    return moment.isoformat()
