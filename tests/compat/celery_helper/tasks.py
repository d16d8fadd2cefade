from extensions import celery
from flask import current_app


@celery.task(bind=True)
def add_together(self, a, b):
    return a + b + current_app.config["SURCHARGE"]
