CELERY_TASK_LIST = ("main_app.tasks.tasks",)
