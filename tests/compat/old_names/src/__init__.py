from flask import Flask

from .extensions import celery, db


def create_app():
    app = Flask(__name__)
    app.config.from_object("src.config")
    db.init_app(app)
    init_celery(app)

    from .views import api

    app.register_blueprint(api)
    return app


def init_celery(app):
    celery.config_from_object(app.config)
    plain = celery.Task

    class ContextTask(plain):
        abstract = True

        def __call__(self, *positional, **named):
            with app.app_context():
                return plain.__call__(self, *positional, **named)

    celery.Task = ContextTask
