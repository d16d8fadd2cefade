from __future__ import annotations

import click
import pytest

from flask_celeriac.cli.loading import app_option_error


@pytest.mark.parametrize(
    ("arguments", "name", "rest"),
    [
        (["-A", "shop", "-c", "2"], "shop", "-c 2"),
        (["-c", "2", "--app", "shop"], "shop", "-c 2"),
        (["-c", "2", "--app=shop"], "shop", "-c 2"),
        (["-Ashop", "-c", "2"], "shop", "-c 2"),
        (["-c", "2", "-A"], "MODULE", "-c 2"),
    ],
)
def test_the_new_form_keeps_the_other_arguments(arguments: list[str], name: str, rest: str) -> None:
    ctx = click.Context(click.Command("beat"), info_name="beat")
    error = app_option_error(click.NoSuchOption("-A"), ctx, arguments)
    assert f"\n  flask --app {name} celery beat {rest}\n" in error.message
    assert error.message.endswith(f"\n  celery -A {name} beat {rest}")


@pytest.mark.parametrize(
    ("named", "module"),
    [
        ("shop.celery", "shop"),
        ("shop:celery_app", "shop"),
        ("shop.web.celery", "shop.web"),
        ("shop.make_celery", "shop.make_celery"),
        ("celery", "celery"),
    ],
)
def test_flask_is_given_the_module_of_the_celery_object(named: str, module: str) -> None:
    ctx = click.Context(click.Command("worker"), info_name="worker")
    error = app_option_error(click.NoSuchOption("-A"), ctx, ["-A", named])
    assert f"\n  flask --app {module} celery worker\n" in error.message
    assert error.message.endswith(f"\n  celery -A {named} worker")


def test_another_unknown_option_stays_what_it_is() -> None:
    ctx = click.Context(click.Command("beat"), info_name="beat")
    error = click.NoSuchOption("--nope", ctx=ctx)
    assert app_option_error(error, ctx, ["--nope"]) is error
