from application import create_app
from extensions import celery  # noqa: F401 - for celery -A

app = create_app()
