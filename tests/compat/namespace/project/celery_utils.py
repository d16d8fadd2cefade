from celery import current_app as current_celery_app


def make_celery(app):
    celery = current_celery_app
    celery.config_from_object(app.config, namespace="CELERY")
    if not hasattr(celery, "flask_app"):
        celery.flask_app = app
    plain = celery.Task

    class ContextTask(plain):
        abstract = True

        def __call__(self, *positional, **named):
            with app.app_context():
                return self.run(*positional, **named)

    celery.Task = ContextTask
    return celery
