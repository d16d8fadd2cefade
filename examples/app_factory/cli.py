"""Run the web server in debug mode: ``python ./cli.py``."""

from __future__ import annotations

import click
from server.core import create_app

from flask_celeriac import CeleriacError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(1, 65535), help="Instead of the configured one.")
@click.option("--debug/--no-debug", default=True, show_default=True, help="Restart on changes.")
def main(host: str, port: int | None, debug: bool) -> None:
    """Run the web server of this application."""
    try:
        app = create_app()
    except CeleriacError as error:
        raise click.ClickException(str(error)) from None
    app.run(host=host, port=port or app.config["PORT"], debug=debug)


if __name__ == "__main__":
    main()
