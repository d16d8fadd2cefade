from flask import Flask, jsonify
from flask_celeryext import FlaskCeleryExt

ext_celery = FlaskCeleryExt()


def create_app():
    app = Flask(__name__)
    app.config.from_object("project.config")
    ext_celery.init_app(app)

    from project.tasks import add

    @app.post("/add/<int:x>/<int:y>")
    def start(x, y):
        return jsonify(task_id=add.delay(x, y).id)

    @app.get("/add/<task_id>")
    def status(task_id):
        found = add.AsyncResult(task_id)
        return jsonify(state=found.state, result=found.result)

    return app
