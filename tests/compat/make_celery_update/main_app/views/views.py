from flask import Blueprint, request

pages = Blueprint("pages", __name__)


@pages.post("/number_request")
def number_request():
    from main_app.tasks.tasks import handle_number_requests

    body = request.get_json()
    sent = handle_number_requests.apply_async(
        kwargs={
            "request_id": body["rid"],
            "number_list": body["numbers"],
            "jobtodo_list": body["jobtodo"],
        },
        countdown=0.1,
        expires=600,
    )
    return {"taskID": sent.id}, 201


@pages.get("/check_request")
def check_request():
    from main_app.tasks.tasks import handle_number_requests

    found = handle_number_requests.AsyncResult(request.get_json()["taskID"])
    return {"status": found.status, "response": found.result}, 201
