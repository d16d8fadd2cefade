import os

from celery.schedules import crontab
from flask import Flask

from .celery_setup import make_celery
from .celery_task_registry import CELERY_TASK_LIST


def create_app():
    app = Flask(__name__)
    app.config["SURCHARGE"] = 0
    app.config["CELERY_BROKER_URL"] = os.environ["QUEUE_URL"]
    app.config["result_backend"] = os.environ["RESULTS_URL"]
    app.config["CELERY_TASK_LIST"] = CELERY_TASK_LIST
    app.config["imports"] = CELERY_TASK_LIST
    app.config["timezone"] = os.environ.get("TIME", "UTC")
    app.config["beat_schedule"] = {
        "periodic_sum": {"task": "main_app.tasks.tasks.sum_task", "schedule": 0.5},
        "periodic_mul": {
            "task": "main_app.tasks.tasks.mul_task",
            "schedule": crontab(minute="*"),
        },
    }
    return app


flask_app = create_app()
celery_app = make_celery(flask_app)

from .views.views import pages  # noqa: E402 - the tasks need celery_app

flask_app.register_blueprint(pages)
