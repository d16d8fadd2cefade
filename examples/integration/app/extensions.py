"""The extensions, made without an application: the factory connects them to each one it makes."""

from __future__ import annotations

import email.charset

from flask_mail import Mail

from flask_celeriac import Celeriac

# Modules can import it and write `@celery.task` before there is an application: no circle of
# imports, and each application that the factory makes brings its own broker.
celery = Celeriac()
mail = Mail()

# Flask-Mail sends text as it is, and mail servers refuse lines of more than 998 characters.
email.charset.add_charset("utf-8", email.charset.SHORTEST, email.charset.QP, "utf-8")
