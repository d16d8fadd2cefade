from flask import current_app

from main_app.app import celery_app


@celery_app.task
def handle_number_requests(request_id, number_list, jobtodo_list):
    total = sum(number_list) + current_app.config["SURCHARGE"]
    return f"{request_id}: {jobtodo_list[0]} is {total}"


@celery_app.task(bind=True)
def sum_task(self):
    print("ticked in", current_app.name)


@celery_app.task(bind=True)
def mul_task(self):
    print("multiplied in", current_app.name)
