"""Who may do what over OPC UA. A client's user name is its name in the keys file, its password is its key.

Without an encrypted channel nobody signs in, unless the settings say `insecure`; asking for the endpoints needs none.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession
from asyncua.server.user_managers import UserManager

from defectflow.serve.guard import LOCAL
from defectflow.serve.keys import Client, ClientKeys
from defectflow.store import Role

CALLER: ContextVar[Client] = ContextVar("caller")
"""Who calls the method that is running."""
CONNECTIONS = 32
"""Open at once; a message of a connection may hold one picture before anybody has signed in."""
NOBODY = User(role=UserRole.Anonymous)
"""Who has not signed in yet."""


@dataclass
class KeyUser(User):
    """Somebody who has signed in."""

    client: Client = LOCAL
    key: str | None = None
    """None: no keys are asked for."""


class KeyUsers(UserManager):
    """Lets in whom the keys file knows, or every program of this machine where there is none."""

    def __init__(self, keys: ClientKeys | None) -> None:
        self._keys = keys

    def get_user(
        self, iserver: InternalServer, username: str | None = None, password: str | None = None, certificate: Any = None
    ) -> User | None:
        if self._keys is None:
            return KeyUser(UserRole.User, LOCAL.name)
        client = self._keys.find(password or "")
        if client is None or client.name != username:
            return None
        return KeyUser(UserRole.User, client.name, client, password)

    def still(self, user: User) -> bool:
        """Whether a user who has signed in is still let in, in the same role."""
        if not isinstance(user, KeyUser) or self._keys is None or user.key is None:
            return True
        return self._keys.find(user.key) == user.client


class GuardedServer(InternalServer):
    """Gives every connection a guarded session."""

    def __init__(self, users: KeyUsers, *, encrypted: bool) -> None:
        super().__init__(user_manager=users)
        self.users, self.encrypted = users, encrypted
        self.max_connections = CONNECTIONS

    def register_server(self, server: Any, conf: Any = None) -> None:
        """This is no discovery server: whoever asks for endpoints is shown this one alone."""
        raise ServiceError(ua.StatusCodes.BadServiceUnsupported)

    def create_session(self, name: str, user: User = NOBODY, external: bool = False) -> InternalSession:
        return GuardedSession(self, self.aspace, self.subscription_service, name, user=user, external=external)


class GuardedSession(InternalSession):
    """What one client may do. A key that is removed is refused from the next request on."""

    def activate_session(
        self, params: ua.ActivateSessionParameters, peer_certificate: bytes | None
    ) -> ua.ActivateSessionResult:
        server = self.iserver
        # Any client may open a channel without security, to ask for endpoints; nobody signs in through it.
        if isinstance(server, GuardedServer) and server.encrypted and peer_certificate is None:
            raise ServiceError(ua.StatusCodes.BadSecurityModeInsufficient)
        return super().activate_session(params, peer_certificate)

    def touch(self) -> None:
        """Called at each request."""
        if isinstance(self.iserver, GuardedServer) and not self.iserver.users.still(self.user):
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        super().touch()

    async def write(self, params: ua.WriteParameters) -> list[ua.StatusCode]:
        self._require_operator()
        return await super().write(params)

    async def call(self, params: list[ua.CallMethodRequest]) -> list[ua.CallMethodResult]:
        self._require_operator()
        return await super().call(params)

    def _require_operator(self) -> None:
        if not isinstance(self.user, KeyUser) or not self.user.client.role.allows(Role.OPERATOR):
            raise ServiceError(ua.StatusCodes.BadUserAccessDenied)
        CALLER.set(self.user.client)
