"""The HTTP API: parses requests, calls :mod:`flask_celeriac.operations`, and answers.

Its modules are loaded when one is made, apart from :mod:`.access`.
"""
