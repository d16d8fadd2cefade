from server.core import create_celery

celery = create_celery()
