from src.extensions import celery  # noqa: F401 - for celery -A

from src import create_app, tasks  # noqa: F401 - the tasks

app = create_app()
