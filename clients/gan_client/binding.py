"""How a method that makes an exchange becomes a call: what it returns depends on the class that inherits it.

class that inherits       client.generate(...) is
Blocking                  the result
Awaiting                  a coroutine of the result
BlockingRaw               the RawResponse, whose parse() gives the result
AwaitingRaw               a coroutine of the RawResponse
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast, overload

from .exchange import Exchange
from .raw import RawResponse

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Blocking:
    """A class whose calls return results."""

    def _run(self, build: Callable[[], Exchange[_T]]) -> _T:
        raise NotImplementedError


class Awaiting:
    """A class whose calls are awaited."""

    async def _run(self, build: Callable[[], Exchange[_T]]) -> _T:
        raise NotImplementedError


class BlockingRaw:
    """A class whose calls return raw responses."""

    def _run(self, build: Callable[[], Exchange[_T]]) -> RawResponse[_T]:
        raise NotImplementedError


class AwaitingRaw:
    """A class whose calls are awaited for raw responses."""

    async def _run(self, build: Callable[[], Exchange[_T]]) -> RawResponse[_T]:
        raise NotImplementedError


class Call(Protocol[_P, _T]):
    """A call as a type checker sees it: the arguments are one, the result is the caller's kind."""

    @overload
    def __get__(self, caller: None, owner: type[Any]) -> Callable[..., Any]: ...
    @overload
    def __get__(self, caller: Blocking, owner: type[Any]) -> Callable[_P, _T]: ...
    @overload
    def __get__(self, caller: Awaiting, owner: type[Any]) -> Callable[_P, Coroutine[Any, Any, _T]]: ...
    @overload
    def __get__(self, caller: BlockingRaw, owner: type[Any]) -> Callable[_P, RawResponse[_T]]: ...
    @overload
    def __get__(self, caller: AwaitingRaw, owner: type[Any]) -> Callable[_P, Coroutine[Any, Any, RawResponse[_T]]]: ...


def call(build: Callable[Concatenate[Any, _P], Exchange[_T]]) -> Call[_P, _T]:
    """Make a method that builds an exchange into one that runs it."""

    @functools.wraps(build)
    def run(self: Any, *args: _P.args, **kwargs: _P.kwargs) -> Any:
        # Built inside `_run`, so that a coroutine raises for a wrong argument where it is awaited.
        return self._run(functools.partial(build, self, *args, **kwargs))

    # What help() shows is what comes out, not the exchange.
    signature = inspect.signature(build)
    result = str(signature.return_annotation).removeprefix("Exchange[").removesuffix("]")
    shown: Any = run
    shown.__signature__ = signature.replace(return_annotation=result)
    return cast("Call[_P, _T]", shown)
