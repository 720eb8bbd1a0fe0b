"""The OPC UA server: a thread with an event loop of its own, and a channel that the outbox tells."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import Any

from asyncua import Server, ua
from asyncua.common.callback import CallbackType, ServerItemCallback
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from defectflow import __version__
from defectflow.errors import DefectFlowError, SettingsError
from defectflow.serve.keys import ClientKeys
from defectflow.serve.opcua.access import CALLER, GuardedServer, KeyUser, KeyUsers
from defectflow.serve.opcua.calls import ConcurrentServer
from defectflow.serve.opcua.methods import Doors, refusal
from defectflow.serve.opcua.space import NAMESPACE, Space, State, answer_of
from defectflow.serve.settings import MIB, OpcUaSettings
from defectflow.serve.tell import Told, Untold
from defectflow.store import Inspection

log = logging.getLogger(__name__)
START_S = 120.0
STOP_S = 5.0
SHOWN_S = 10.0
"""How long it may take to show what is told."""
LOOK_S = 1.0
"""How often the state is looked at."""
HEAD_BYTES = 2**16
"""What a message may hold besides a picture."""
ANOTHER = "make another as docs/serve.md shows under OPC UA"
_TEXT = ua.VariantType.String
_WHAT = {
    "part": (_TEXT, "what the picture shows; may be empty"),
    "lot": (_TEXT, "may be empty"),
    "model": (_TEXT, "the bundle's name; empty: the camera's, or the active one"),
    "product": (
        _TEXT,
        "of a bundle of several, what the picture shows; may be empty or left out: the camera's, or auto",
    ),
}
LEFT_OUT = 1
"""So many of the last arguments may be left out, for clients that were made before there were these."""


class OpcUa:
    """Verdicts, counters and state for OPC UA clients; triggers and the switch from them."""

    def __init__(
        self,
        settings: OpcUaSettings,
        keys: ClientKeys | None,
        doors: Doors,
        check: Callable[[], object],
        drain_s: float,
    ) -> None:
        """`check`: raises DefectFlowError while nothing can be judged. Raises SettingsError."""
        self.at_once = 1
        self.name = f"opcua {socket.gethostname()}:{settings.port}"
        self.endpoint = f"opc.tcp://{settings.host}:{settings.port}/defectflow"
        self._settings, self._keys, self._doors, self._check = settings, keys, doors, check
        self._drain_s = drain_s
        check_files(settings)
        self._check_port()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._calls = 0
        self._ready = False
        started: Future[None] = Future()
        self._thread = Thread(target=self._run, args=(started,), name="opcua", daemon=True)
        self._thread.start()
        try:
            started.result(START_S)
        except NotInTime as error:
            raise SettingsError(
                f"opcua: the server has not started after {START_S:g} s; is the machine busy?"
            ) from error
        log.info("OPC UA on %s", self.endpoint)

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def wants(self, said: Told) -> bool:
        return True

    def tell(self, said: Told) -> None:
        showing = asyncio.run_coroutine_threadsafe(self._space.tell(said), self._loop)
        try:
            showing.result(SHOWN_S)
        except (NotInTime, ua.UaError, RuntimeError) as error:
            raise Untold(f"{self.endpoint}: cannot show it ({error or type(error).__name__})") from error

    def close(self) -> None:
        """Refuse new calls, answer those that are under way, and end."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()

    def _run(self, started: Future[None]) -> None:
        try:
            self._loop.run_until_complete(self._serve(started))
        except BaseException as error:
            if started.done():
                log.exception("OPC UA has ended", exc_info=error)
            else:
                started.set_exception(error)
        finally:
            self._loop.close()

    async def _serve(self, started: Future[None]) -> None:
        server = await self._build()
        await server.start()
        started.set_result(None)
        while not self._over.is_set():
            await self._look()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), LOOK_S)
        await self._space.show_state(State("Halted"))
        until = self._loop.time() + self._drain_s
        while self._calls and self._loop.time() < until:
            await asyncio.sleep(0.02)
        with suppress(TimeoutError):  # a client that reads nothing any more keeps its connection half open
            await asyncio.wait_for(server.stop(), STOP_S)

    async def _build(self) -> Server:
        settings = self._settings
        guarded = GuardedServer(KeyUsers(self._keys), encrypted=not settings.insecure)
        server = ConcurrentServer(iserver=guarded)
        await server.init()
        server.set_endpoint(self.endpoint)
        server.set_server_name("DefectFlow")
        server.product_uri = "urn:defectflow"
        server.application_type = ua.ApplicationType.Server
        await server.set_application_uri(application_uri(settings))
        if settings.insecure:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            server.set_security_policy(
                [
                    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
                    ua.SecurityPolicyType.Aes128Sha256RsaOaep_SignAndEncrypt,
                    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
                ]
            )
            await server.load_certificate(_bytes(settings.certificate), "pem")
            await server.load_private_key(_bytes(settings.key), format="pem")
        server.set_identity_tokens([ua.AnonymousIdentityToken if self._keys is None else ua.UserNameIdentityToken])
        most = round(self._doors.limits.picture_megabytes * MIB) + HEAD_BYTES
        server.limits.max_message_size = most
        server.limits.max_chunk_count = most // 8192 + 1  # the smallest chunks that the standard allows
        space = Space(server, await server.register_namespace(NAMESPACE))
        await space.build(settings.station, __version__, self._doors.cameras)
        self._space = space
        doors = self._doors
        await self._add(
            "InspectFile",
            doors.inspect_file,
            {"path": (_TEXT, "a picture's file, below a folder of opcua.folders"), **_WHAT},
        )
        await self._add(
            "InspectPicture",
            doors.inspect_picture,
            {
                "picture": (ua.VariantType.ByteString, "a picture's file, as bytes"),
                "name": (_TEXT, "its file name; may be empty"),
                **_WHAT,
            },
        )
        await self._add("Trigger", doors.trigger, {"camera": (_TEXT, "a camera of the service, by its name"), **_WHAT})
        server.subscribe_server_callback(CallbackType.PostWrite, self._written)  # type: ignore[no-untyped-call,unused-ignore]
        return server

    async def _add(
        self,
        name: str,
        door: Callable[..., Coroutine[Any, Any, Inspection]],
        inputs: dict[str, tuple[ua.VariantType, str]],
    ) -> None:
        async def called(parent: ua.NodeId, *arguments: ua.Variant) -> list[ua.Variant] | ua.StatusCode:
            missing = len(inputs) - len(arguments)
            if missing > LEFT_OUT:
                return ua.StatusCode(ua.UInt32(ua.StatusCodes.BadArgumentsMissing))
            if missing < 0:
                return ua.StatusCode(ua.UInt32(ua.StatusCodes.BadTooManyArguments))
            kinds = [kind for kind, _ in inputs.values()]
            if [one.VariantType for one in arguments] != kinds[: len(arguments)]:
                return ua.StatusCode(ua.UInt32(ua.StatusCodes.BadInvalidArgument))
            if self._over.is_set():
                return ua.StatusCode(ua.UInt32(ua.StatusCodes.BadShutdown))
            values = [one.Value or _NOTHING[one.VariantType] for one in arguments]
            values += [_NOTHING[kind] for kind in kinds[len(arguments) :]]
            self._calls += 1
            try:
                await self._look_busy()
                return answer_of(await door(CALLER.get(), *values))
            except Exception as error:
                code, said = refusal(error)
                await self._space.show_refusal(said)
                return code
            finally:
                self._calls -= 1
                await self._look_busy()

        await self._space.add_method(name, called, inputs)

    async def _look(self) -> None:
        """The state, as /readyz would say it."""
        error = ""
        try:
            await asyncio.to_thread(self._check)
            self._ready = True
        except DefectFlowError as failed:
            error = str(failed)
        except Exception as failed:
            log.exception("OPC UA: the state cannot be told", exc_info=failed)
            error = str(failed)
        self._error = error
        await self._space.show_cameras(self._doors.cameras)
        await self._look_busy()

    async def _look_busy(self) -> None:
        await self._space.show_state(self._state())

    def _state(self) -> State:
        if self._over.is_set():
            return State("Halted")
        if not self._ready:
            return State("Preoperational")
        if self._error:
            return State("Error")
        if not self._doors.switch.on:
            return State("Operational", "Initialized")
        if self._calls:
            return State("Operational", "SingleExecution")
        by_themselves = any(camera.by_itself for camera in self._doors.cameras.values())
        return State("Operational", "ContinuousExecution" if by_themselves else "Ready")

    async def _written(self, event: ServerItemCallback, dispatcher: object = None) -> None:
        """Enabled is the one variable that clients may write."""
        if not event.is_external:
            return
        for wanted, status in zip(event.request_params.NodesToWrite, event.response_params, strict=True):
            if wanted.NodeId == self._space.enabled.nodeid and status.is_good():
                by = event.user.client.name if isinstance(event.user, KeyUser) else "somebody"
                self._doors.switch.turn(on=bool(wanted.Value.Value.Value), by=by)
        await self._look_busy()

    def _check_port(self) -> None:
        settings = self._settings
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            socket.create_server((settings.host, settings.port), family=family).close()
        except OSError as error:
            raise SettingsError(
                f"opcua.host {settings.host}, opcua.port {settings.port}: cannot listen there ({error.strerror}); "
                "choose another port, or stop what listens on it"
            ) from error


_NOTHING: dict[ua.VariantType, Any] = {ua.VariantType.String: "", ua.VariantType.ByteString: b""}


def _bytes(file: Path | None) -> bytes:
    return b"" if file is None else file.read_bytes()


def check_files(settings: OpcUaSettings) -> None:
    """Raises SettingsError where clients would refuse the certificate, or the key cannot be read or is not its own."""
    if settings.certificate is None or settings.key is None:
        return
    certificate, named = _certificate(settings.certificate), f"opcua.certificate: {settings.certificate}"
    if not isinstance(certificate.public_key(), RSAPublicKey):
        raise SettingsError(f"{named} has no RSA key, which OPC UA's security policies ask for; {ANOTHER}")
    if certificate.not_valid_after_utc < datetime.now(UTC):
        raise SettingsError(f"{named} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; {ANOTHER}")
    if not _uris(certificate):
        raise SettingsError(
            f"{named} names no ApplicationUri (a URI among its subjectAltNames), so most clients would refuse it; "
            f"{ANOTHER}"
        )
    try:
        key = load_pem_private_key(settings.key.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(
            f"opcua.key: {settings.key} cannot be read ({error}); name a PEM file without a password"
        ) from error
    if key.public_key() != certificate.public_key():
        raise SettingsError(f"opcua.key: {settings.key} is not the key of {settings.certificate}; name its own")


def _certificate(file: Path) -> x509.Certificate:
    """Raises SettingsError."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise SettingsError(f"opcua.certificate: {file} cannot be read ({error}); name a PEM file") from error


def application_uri(settings: OpcUaSettings) -> str:
    """As the certificate names it, for clients compare the two."""
    if settings.certificate is not None:
        return _uris(_certificate(settings.certificate))[0]
    return f"urn:{socket.gethostname()}:defectflow"


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return names.value.get_values_for_type(x509.UniformResourceIdentifier)
