from app import celery, create_app  # noqa: F401 - for celery -A

flask_app = create_app()
