from flask import current_app

from app import celery


@celery.task()
def make_text(word):
    return word + "!" * (1 + current_app.config["SURCHARGE"])


@celery.on_after_finalize.connect
def periodic(sender, **kwargs):
    sender.add_periodic_task(0.5, tick.s())


@celery.task()
def tick():
    print("ticked in", current_app.name)
