from celery import Celery

from .celery_task_registry import CELERY_TASK_LIST


def make_celery(app):
    celery = Celery(
        app.import_name,
        broker=app.config["CELERY_BROKER_URL"],
        backend=app.config["result_backend"],
    )
    celery.conf.update({"timezone": "UTC", "imports": CELERY_TASK_LIST, "task_serializer": "json"})
    celery.conf.update(app.config)
    plain = celery.Task

    class ContextTask(plain):
        abstract = True

        def __call__(self, *positional, **named):
            with app.app_context():
                return plain.__call__(self, *positional, **named)

    celery.Task = ContextTask
    return celery
