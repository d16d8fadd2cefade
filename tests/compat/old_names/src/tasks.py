from .extensions import celery, db
from .models import Message


@celery.on_after_configure.connect
def setup_periodic_tasks(sender, **kwargs):
    sender.add_periodic_task(0.5, tick.s(), name="tick")


@celery.task
def store(text):
    db.create_all()
    db.session.add(Message(text=text))
    db.session.commit()
    return Message.query.count()


@celery.task
def tick():
    from flask import current_app

    print("ticked in", current_app.name)
