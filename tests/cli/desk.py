"""An application whose tasks the tests of the commands see and steer."""

from __future__ import annotations

from typing import Any

from flask import Flask

from flask_celeriac import Celeriac


def create_app(folder: str, **config: Any) -> Flask:
    """Make it, with its instance folder in another one."""
    app = Flask("desk", instance_path=f"{folder}/instance")
    app.config.update(config)
    celeriac = Celeriac()

    @celeriac.task(name="desk.add")
    def add(a: int, b: int) -> int:
        return a + b

    @celeriac.task(name="desk.echo")
    def echo(**values: Any) -> dict[str, Any]:
        return values

    @celeriac.task(name="desk.fail")
    def fail(why: str, password: str = "") -> None:
        raise ValueError(f"{why}\x1b[31m")

    celeriac.init_app(app)
    return app
