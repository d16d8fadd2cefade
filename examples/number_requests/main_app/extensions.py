"""The extensions, made here and connected in the factory, so that every module can import them."""

from __future__ import annotations

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase

from flask_celeriac import Celeriac


class Base(DeclarativeBase):
    """The base class of the tables."""


db = SQLAlchemy(model_class=Base)
celeriac = Celeriac(session=db.session)
