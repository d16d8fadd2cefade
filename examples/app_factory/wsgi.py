"""What Flask's command and WSGI servers start."""

from __future__ import annotations

from server.core import create_app

app = create_app()
