from flask import Flask

from .celery_setup import celery_init_app


def create_app():
    app = Flask(__name__)
    app.config.from_mapping(SURCHARGE=0, CELERY={"task_ignore_result": True})
    app.config.from_prefixed_env()
    celery_init_app(app)

    from . import views

    app.register_blueprint(views.bp)
    return app
