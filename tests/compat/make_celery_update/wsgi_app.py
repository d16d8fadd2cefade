from main_app.app import celery_app, flask_app

app = flask_app
celery = celery_app
