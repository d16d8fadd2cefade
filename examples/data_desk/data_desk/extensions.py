"""The Flask extensions of the application."""

from __future__ import annotations

from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_celeriac import Celeriac


class Base(DeclarativeBase):
    """The base class of the tables."""


db = SQLAlchemy(model_class=Base)
mail = Mail()
celeriac = Celeriac()
