"""Whatever goes wrong -> one problem+json that says what, and what to do (RFC 9457)."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from defectflow.errors import (
    BundleError,
    CameraError,
    DefectFlowError,
    KeyReused,
    NotCalibrated,
    SettingsError,
    StoreError,
    UnknownCamera,
    UnknownModel,
    UnknownProduct,
)
from defectflow.serve.switch import SwitchedOff
from defectflow.serve.work import Busy

log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
AGAIN_S = 5
"""When to come again where nobody knows better."""


class Problem(Exception):  # noqa: N818  (the name of the standard)
    """An answer that is none."""

    def __init__(self, status: int, detail: str, *, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}
        self.more = more


def add_problems(app: FastAPI) -> None:
    """Every error of this app leaves as a problem."""
    for kind in (Problem, Busy, SwitchedOff, DefectFlowError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _answer)


def problem_of(error: Exception) -> Problem:
    """What a client is told of an error."""
    match error:
        case Problem():
            return error
        case Busy():
            return Problem(429 if error.full else 503, str(error), headers={"Retry-After": str(error.retry_after_s)})
        case SwitchedOff():
            return Problem(409, str(error))
        case UnknownModel() | UnknownCamera():
            return Problem(404, str(error))
        case UnknownProduct():
            return Problem(422, str(error))
        case KeyReused():
            return Problem(422, str(error))
        case NotCalibrated():
            return Problem(409, str(error))
        case BundleError() | StoreError() | CameraError():
            return Problem(503, str(error), headers={"Retry-After": str(AGAIN_S)})
        case SettingsError():
            return Problem(422, str(error))
        case RequestValidationError():
            return Problem(422, "; ".join(_explain(one) for one in error.errors()))
        case HTTPException(status_code=404 | 405):
            said = "no such path, or not by this method; /docs lists them all"
            return Problem(error.status_code, said, headers=dict(error.headers or {}))
        case HTTPException():
            return Problem(error.status_code, str(error.detail), headers=dict(error.headers or {}))
        case _:
            log.error("an unexpected error", exc_info=error)
            return Problem(500, "an unexpected error; the service's log says more")


async def _answer(request: Request, error: Exception) -> JSONResponse:
    problem = problem_of(error)
    request.app.state.refused.labels(problem.status).inc()
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        **problem.more,
    }
    return JSONResponse(body, problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def _explain(problem: dict[str, Any]) -> str:
    place = ".".join(str(part) for part in problem["loc"][1:]) or str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"{place}: nothing is called so; /docs says what may be given"
    return f"{place}: {str(problem.get('input'))[:100]!r}: {problem['msg']}"
