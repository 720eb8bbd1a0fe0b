"""The routes: what a client can ask, and how it is answered."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from defectflow import __version__
from defectflow.bundle import AUTO
from defectflow.errors import DefectFlowError
from defectflow.serve.answers import (
    Asked,
    AskedOfCamera,
    CameraAnswer,
    InspectAnswer,
    InspectionAnswer,
    ModelAnswer,
    PartAnswer,
    Text,
    draw,
)
from defectflow.serve.api_page import api_page
from defectflow.serve.cameras import Camera, Trigger, find_camera
from defectflow.serve.keys import Client
from defectflow.serve.problems import MEDIA_TYPE, Problem, add_problems
from defectflow.serve.receive import receive, remove
from defectflow.serve.service import Service
from defectflow.serve.work import Done, Job, Received
from defectflow.store import Inspection, RequestKey, Role
from defectflow.verdict import Verdict

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        **{name: {"type": "string"} for name in ("model", "product", "part", "lot", "camera")},
                        "images": {"type": "array", "items": {"enum": ["map", "mask", "overlay"]}},
                    },
                    "required": ["file"],
                }
            },
        },
    }
}
_PROBLEM = {"description": "A problem (RFC 9457), with what to do", "content": {MEDIA_TYPE: {}}}
_SAID: dict[int | str, dict[str, Any]] = {
    401: _PROBLEM,
    403: _PROBLEM,
    429: _PROBLEM | {"headers": {"Retry-After": {"schema": {"type": "integer"}}}},
}


def build(service: Service) -> FastAPI:
    """The ASGI app over an open service, which it closes at its end."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.close)

    app = FastAPI(
        title="DefectFlow", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, responses=_SAID
    )
    app.state.refused = service.metrics.refused
    add_problems(app)
    _add_inspect(app, service)
    _add_cameras(app, service)
    _add_looking_up(app, service)
    _add_operation(app, service)
    return app


def _add_inspect(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/inspect",
        openapi_extra=_BODY,
        responses=dict.fromkeys((400, 404, 408, 409, 413, 422, 503, 507), _PROBLEM),
    )
    async def inspect(
        request: Request,
        client: Annotated[Client, Depends(service.guard.needs(Role.OPERATOR))],
        query: Annotated[Asked, Query()],
        idempotency_key: Annotated[Text | None, Header()] = None,
    ) -> InspectAnswer:
        """Inspect one picture (the body is the file) or several (multipart/form-data).

        Every answered request has one row per picture in the store. Sent again with the same Idempotency-Key, a
        request is answered from there, without images.
        """
        begun = time.perf_counter()
        with service.work.arriving() as arrived:
            pictures, form = await receive(request, service.spool, service.settings.limits, query.name)
            accepted: Future[Done] | None = None
            try:
                asked = _with_form(query, form)
                key = _key(client, idempotency_key, asked, pictures)
                known = None if key is None else await run_in_threadpool(service.store.requests.find, key)
                if known is not None:
                    return _answer(known, repeated=True)
                if asked.product is not None:  # refused now, with the known names, and not after its turn has come
                    await run_in_threadpool(lambda: service.models.inspector(asked.model).of(asked.product))
                job = Job(
                    pictures=tuple(pictures),
                    client=client.name,
                    model=asked.model,
                    product=None if asked.product == AUTO else asked.product,
                    part=asked.part,
                    lot=asked.lot,
                    camera=asked.camera,
                    key=key,
                )
                service.work.submit(job)
                accepted = job.future
                arrived()
                return await _once_judged(accepted, asked)
            finally:
                service.metrics.latency.observe(time.perf_counter() - begun)
                # Where the connection is gone, accepted pictures are being judged all the same.
                if accepted is None:
                    remove(pictures)
                else:
                    accepted.add_done_callback(lambda _: remove(pictures))


def _add_cameras(app: FastAPI, service: Service) -> None:
    @app.get("/v1/cameras", dependencies=[Depends(service.guard.needs(Role.VIEWER))])
    def cameras() -> list[CameraAnswer]:
        """The service's cameras, and whether they give pictures."""
        return [_camera(camera) for camera in service.cameras.values()]

    @app.post("/v1/cameras/{name}/trigger", responses=dict.fromkeys((404, 409, 422, 503), _PROBLEM))
    async def trigger(
        name: str,
        client: Annotated[Client, Depends(service.guard.needs(Role.OPERATOR))],
        query: Annotated[AskedOfCamera, Query()],
        idempotency_key: Annotated[Text | None, Header()] = None,
    ) -> InspectAnswer:
        """Take one picture with a camera, and inspect it.

        Sent again with the same Idempotency-Key, a request is answered from the store, and no picture is taken.
        """
        begun = time.perf_counter()
        try:
            key = _key(client, idempotency_key, query, [], camera=name)
            known = None if key is None else await run_in_threadpool(service.store.requests.find, key)
            if known is not None:
                return _answer(known, repeated=True)
            wanted = Trigger(
                client=client.name, part=query.part, lot=query.lot, model=query.model, product=query.product, key=key
            )
            return await _once_judged(find_camera(service.cameras, name).trigger(wanted), query)
        finally:
            service.metrics.latency.observe(time.perf_counter() - begun)


def _camera(camera: Camera) -> CameraAnswer:
    return CameraAnswer(
        name=camera.name,
        works=camera.error is None,
        error=camera.error,
        words=camera.words,
        model=camera.settings.model,
        lot=camera.settings.lot,
        every_s=camera.settings.every_s,
        pictures=camera.pictures,
        missed=camera.missed,
        last_at=camera.last_at,
    )


def _add_looking_up(app: FastAPI, service: Service) -> None:
    looks = [Depends(service.guard.needs(Role.VIEWER))]

    @app.get("/v1/models", dependencies=looks)
    def models() -> list[ModelAnswer]:
        """The bundles of the folder; which is active, and what each promises."""
        return [ModelAnswer.of(found) for found in service.models.all()]

    @app.get("/v1/inspections/{number}", dependencies=looks, responses={404: _PROBLEM})
    def inspection(number: int) -> InspectionAnswer:
        """One inspection, by its id."""
        row = service.store.history.get(number)
        if row is None:
            raise Problem(404, f"inspection {number}: there is none of this number, or it was removed by retention")
        return InspectionAnswer.of(row)

    @app.get("/v1/parts/{part:path}", dependencies=looks, responses={404: _PROBLEM})
    def part(part: str) -> PartAnswer:
        """A part's inspections, by all models, and what people said about it."""
        story = service.store.history.story(part)
        if not story.inspections:
            raise Problem(404, f"part {part!r}: was never inspected, or was removed by retention")
        return PartAnswer.of(story)


def _add_operation(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthy() -> str:
        """Whether the process works; if not, restart it."""
        if not service.alive:
            raise Problem(503, "a thread of the service has died; restart it")
        return "ok"

    @app.get("/readyz", response_class=PlainTextResponse, responses={503: _PROBLEM})
    def ready() -> str:
        """Whether requests that name no model can be answered: the store is there, and the active model is loaded.

        The first line is ok. Lines behind it tell of receivers that do not confirm, or refuse messages.
        """
        try:
            service.check()
            return "\n".join(["ok", *service.notes()])
        except DefectFlowError as error:
            raise Problem(503, str(error)) from error

    @app.get("/metrics", dependencies=[Depends(service.guard.needs(Role.VIEWER))], response_class=PlainTextResponse)
    def metrics() -> Response:
        """For Prometheus."""
        return PlainTextResponse(service.metrics.text())

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return api_page(app.openapi())


def _with_form(query: Asked, form: dict[str, str]) -> Asked:
    """What the query says, and where it says nothing, the form. Raises Problem."""
    said: dict[str, Any] = dict(form)
    if "images" in said:
        said["images"] = [kind.strip() for kind in said["images"].split(",")]
    try:
        return Asked.model_validate(said | query.model_dump(exclude_unset=True))
    except ValidationError as error:
        reasons = (f"{'.'.join(str(place) for place in one['loc'])}: {one['msg']}" for one in error.errors())
        raise Problem(422, "; ".join(reasons)) from error


def _key(
    client: Client, key: str | None, asked: AskedOfCamera, pictures: list[Received], **more: str
) -> RequestKey | None:
    if key is None:
        return None
    # Images are not recorded, so asking for them or not is the same request. Earlier releases knew no products.
    unsaid = {"images"} if getattr(asked, "product", None) is not None else {"images", "product"}
    said = (
        asked.model_dump(mode="json", exclude=unsaid)
        | more
        | {"pictures": [(picture.name, picture.sha256) for picture in pictures]}
    )
    return RequestKey(client.name, key, hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest())


def _answer(rows: tuple[Inspection, ...], *, repeated: bool) -> InspectAnswer:
    """Raises Problem where no picture could be read: then there is no verdict, but a row that says so."""
    answer = InspectAnswer.of(rows, repeated=repeated)
    if all(row.decision == "error" for row in rows):
        raise Problem(
            422,
            "; ".join(str(row.error) for row in rows),
            repeated=repeated,
            inspections=[one.model_dump(mode="json") for one in answer.inspections],
        )
    return answer


async def _once_judged(accepted: Future[Done], asked: AskedOfCamera) -> InspectAnswer:
    """What is answered to a request that was accepted. It goes on being judged where its connection is gone."""
    done = await asyncio.shield(asyncio.wrap_future(accepted))
    answer = _answer(done.inspections, repeated=False)
    if asked.images:
        await run_in_threadpool(_add_images, answer, done, asked)
    return answer


def _add_images(answer: InspectAnswer, done: Done, asked: AskedOfCamera) -> None:
    for inspection, item in zip(answer.inspections, done.items, strict=True):
        if isinstance(item, Verdict):
            inspection.images = draw(item, asked.images)
