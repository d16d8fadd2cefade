from celery import shared_task
from flask import current_app


@shared_task(name="high_priority:divide")
def divide(x, y):
    return x / y + current_app.config["SURCHARGE"]


@shared_task(name="low_priority:tick")
def tick():
    print("ticked in", current_app.name)
