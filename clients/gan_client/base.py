"""What both clients have that is no call: where they ask, and how they behave."""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, Self, TypeVar

from .session import AsyncSession, Session

_Session = TypeVar("_Session", Session, AsyncSession)


class BaseClient(Generic[_Session]):
    """A client with a session."""

    _session: _Session

    @property
    def base_url(self) -> str:
        """The service's URL, without a slash at its end."""
        return self._session.url

    def with_options(self, *, timeout: float | None = None, max_retries: int | None = None) -> Self:
        """A client that behaves otherwise and shares this one's connections; closing either closes them.

        Args:
            timeout: as for a new client; unchanged when None.
            max_retries: as for a new client; unchanged when None.

        Raises:
            InvalidArgumentError: a value is out of its range.
        """
        other = self.__class__.__new__(self.__class__)
        other.__dict__ |= self.__dict__
        other._session = replace(self._session, options=self._session.options.changed(timeout, max_retries))
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"
