from flask_celery import Celery

celery = Celery()
