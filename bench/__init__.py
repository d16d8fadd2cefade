"""``make bench``: the embedded broker beside stock Celery, measured in one run.

What is measured and how is in ``docs/benchmarks.md``.
"""
