"""Who may do what, and how often: a client's key, its role, its rate."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from fastapi import Request

from defectflow.serve.keys import Client, ClientKeys
from defectflow.serve.problems import Problem
from defectflow.store import Role

LOCAL = Client("local", Role.OPERATOR)
"""Who sends a request where no keys are asked for."""
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


class Guard:
    """Lets clients in by their key. Not thread-safe: asked by the event loop alone."""

    def __init__(self, keys: ClientKeys | None, requests_per_s: float) -> None:
        """`keys`: None lets every program of this machine in, but no page of a browser."""
        self._keys = keys
        self._rate = requests_per_s
        self._left: dict[str, tuple[float, float]] = {}
        """For each client, when it was last let in, and how many requests it then had left."""

    def needs(self, role: Role) -> Callable[[Request], Awaitable[Client]]:
        """A dependency that lets in who has this role or a higher one. Raises Problem."""

        async def allowed(request: Request) -> Client:
            client = self._client(request)
            if not client.role.allows(role):
                raise Problem(403, f"{client.name} is {client.role}; this needs the role {role}")
            self._count(client)
            return client

        return allowed

    def _client(self, request: Request) -> Client:
        if self._keys is None:
            # A browser of this machine may be showing anybody's page.
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname
            if host not in LOCAL_HOSTS or "origin" in request.headers:
                raise Problem(403, "without keys, only programs of this machine are let in, and no web pages")
            return LOCAL
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        client = self._keys.find(key.strip()) if scheme.lower() == "bearer" else None
        if client is None:
            said = "the key is not known" if key else "a key is missing: send the header Authorization: Bearer KEY"
            raise Problem(401, said, headers={"WWW-Authenticate": "Bearer"})
        return client

    def _count(self, client: Client) -> None:
        """A bucket that holds a second's requests, and at least one."""
        now, most = time.monotonic(), max(1.0, self._rate)
        last, left = self._left.get(client.name, (now, most))
        left = min(most, left + (now - last) * self._rate)
        if left < 1:
            wait_s = max(1, round((1 - left) / self._rate))
            raise Problem(
                429,
                f"{client.name} sends more than {self._rate:g} requests per second (limits.requests_per_s)",
                headers={"Retry-After": str(wait_s)},
            )
        self._left[client.name] = now, left - 1
