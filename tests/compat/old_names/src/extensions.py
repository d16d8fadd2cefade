from celery import Celery
from celery.signals import task_postrun
from flask_sqlalchemy import SQLAlchemy

celery = Celery()
db = SQLAlchemy()


@task_postrun.connect
def close_session(*args, **kwargs):
    from flask import has_app_context

    if has_app_context():
        db.session.remove()
