"""The embedded broker: Celery's messages in one SQLite file.

Importing this room registers its transport with kombu, as the URL scheme ``celeriac``.
"""

from __future__ import annotations

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT_ALIASES["celeriac"] = "flask_celeriac.broker.transport:Transport"
