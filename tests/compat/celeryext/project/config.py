import os

SURCHARGE = 0
CELERY_BROKER_URL = os.environ["QUEUE_URL"]
CELERY_RESULT_BACKEND = os.environ["RESULTS_URL"]
CELERYBEAT_SCHEDULE = {"tick": {"task": "project.tasks.tick", "schedule": 0.5}}
