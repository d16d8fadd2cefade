from celery import shared_task
from flask import current_app


@shared_task
def add(x, y):
    return x + y + current_app.config["SURCHARGE"]


@shared_task
def tick():
    print("ticked in", current_app.name)
