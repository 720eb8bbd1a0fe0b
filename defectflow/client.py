"""The other end of `defectflow serve`, for Python: send pictures, get verdicts; repeated safely where the line is bad.

    with Client("https://station:8100", key="df_...") as client:
        answer = client.inspect("a.png", part="17")
        print(answer.decision, answer.inspections[0].score)

Every request carries an Idempotency-Key, so one that got no answer is sent again without being recorded twice.
"""

from __future__ import annotations

import ssl
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
from pydantic import Base64Bytes, BaseModel, ConfigDict

from defectflow.errors import ServiceError

Picture = Path | str | bytes
"""A file, or a file's bytes."""
Kind = Literal["map", "mask", "overlay"]
Word = Literal["ok", "review", "defect", "invalid", "error"]
ATTEMPTS = 5
LONGEST_WAIT_S = 30.0
"""Between two attempts."""


class _Answer(BaseModel):
    """Frozen; fields of a newer service are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Region(_Answer):
    """One connected marked area, in pixels of the picture."""

    left_px: int
    top_px: int
    width_px: int
    height_px: int
    area_px: int
    peak: float | None


class Images(_Answer):
    """PNG files; None for those that were not asked for."""

    map: Base64Bytes | None
    """16-bit grey; `map_white` is white."""
    map_white: float | None
    mask: Base64Bytes | None
    overlay: Base64Bytes | None


class Inspection(_Answer):
    """One picture, inspected once."""

    id: int
    at: datetime
    client: str
    model: str
    product: str | None = None
    """By whose limits it was judged, where the model has several products."""
    bundle_id: str
    calibration_id: str
    file: str
    part: str
    lot: str | None
    camera: str | None
    decision: Word
    reason: str | None = None
    """Why it is invalid: "gross defect" or "wrong picture"; None also from a service that does not tell."""
    score: float | None
    """Dimensionless; higher is worse."""
    p_value: float | None
    threshold: float | None
    review_threshold: float | None
    regions: tuple[Region, ...]
    milliseconds: float | None
    error: str | None
    images: Images | None


class Answer(_Answer):
    """A request's pictures, in order."""

    decision: Word
    """Of the worst picture."""
    repeated: bool
    """Whether the service had answered it before."""
    inspections: tuple[Inspection, ...]


class Model(_Answer):
    """A model of the service."""

    name: str
    active: bool
    bundle_id: str | None
    calibration_id: str | None
    guarantee: tuple[str, ...]
    error: str | None


class Client:
    """Speaks to one service; keeps its connection. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        *,
        timeout_s: float = 60.0,
        attempts: int = ATTEMPTS,
        certificate: Path | str | None = None,
    ) -> None:
        """`certificate`: a file (PEM) with that of a service which signed its own. Raises ServiceError without it."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        try:
            trusted = ssl.create_default_context(cafile=certificate)
        except OSError as error:  # an SSLError, too
            raise ServiceError(f"{certificate}: is no certificate in PEM ({error})", status=None) from error
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, verify=trusted, trust_env=False)
        self._attempts = attempts

    def inspect(
        self,
        *pictures: Picture,
        model: str | None = None,
        product: str | None = None,
        part: str | None = None,
        lot: str | None = None,
        camera: str | None = None,
        images: Sequence[Kind] = (),
        idempotency_key: str | None = None,
    ) -> Answer:
        """Inspect pictures of one part. Waits and tries again while the service is busy or cannot be reached.

        `model`: by default the active one. `product`: of a model of several, which one they show; by default each is
        judged as the one that it resembles most. `idempotency_key`: give one that outlives this process, say the
        trigger's number, to be able to ask again after a restart.

        Raises ServiceError with what the service said; its `status` is None if the service was never reached.
        """
        if not pictures:
            raise ServiceError("no picture was given; give one or more files", status=None)
        given = {"model": model, "product": product, "part": part, "lot": lot, "camera": camera}
        query: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if images:
            query["images"] = list(images)
        files = [("file", _named(picture, number)) for number, picture in enumerate(pictures)]
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return Answer.model_validate(self._ask("POST", "/v1/inspect", params=query, files=files, headers=headers))

    def inspection(self, number: int) -> Inspection:
        """One inspection, by its id. Raises ServiceError."""
        return Inspection.model_validate(self._ask("GET", f"/v1/inspections/{number}"))

    def part(self, part: str) -> tuple[Inspection, ...]:
        """A part's inspections, oldest first. Raises ServiceError."""
        found = self._ask("GET", f"/v1/parts/{quote(part, safe='')}")
        return tuple(Inspection.model_validate(one) for one in found["inspections"])

    def models(self) -> tuple[Model, ...]:
        """The service's models. Raises ServiceError."""
        return tuple(Model.model_validate(one) for one in self._ask("GET", "/v1/models"))

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        for attempt in range(1, self._attempts + 1):
            try:
                answer = self._http.request(method, path, **request)
            except httpx.TransportError as error:
                refusal, wait_s = ServiceError(f"{self._http.base_url}: {error}", status=None), 0.2 * 2**attempt
            else:
                if answer.is_success:
                    return answer.json()
                refusal, wait_s = _refusal(answer), float(answer.headers.get("Retry-After", 1))
                if answer.status_code not in (408, 429, 503, 507):
                    raise refusal
            if attempt < self._attempts:
                time.sleep(min(wait_s, LONGEST_WAIT_S))
        raise refusal


def _named(picture: Picture, number: int) -> tuple[str, bytes]:
    """A part of the form: name and content."""
    if isinstance(picture, bytes):
        return f"picture{number or ''}", picture
    try:
        return Path(picture).name, Path(picture).read_bytes()
    except OSError as error:
        raise ServiceError(f"{picture}: cannot be read ({error.strerror})", status=None) from error


def _refusal(answer: httpx.Response) -> ServiceError:
    try:
        said = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        said = answer.text[:200]
    return ServiceError(f"{answer.request.url.path}: {answer.status_code}: {said}", status=answer.status_code)
