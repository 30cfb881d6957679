"""Any number of images in constant memory: chunks of consecutive seeds, some of them under way ahead of their use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from threading import Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ._constants import MAX_AHEAD, MAX_IMAGES, SEED_LIMIT
from .arguments import Label, entries_of, integer, is_one_label, label_of
from .calls import generate_exchange
from .errors import MORE_IMAGES, GanError, InvalidArgumentError, InvalidRequestError, UnexpectedResponseError, counted
from .exchange import Exchange
from .images import Generation, Image
from .requests import generate_request, random_seed
from .retry import Stop, StoppedError

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .session import Session


class StreamPlan:
    """What a stream asks for, chunk by chunk; the same with threads and with tasks."""

    def __init__(
        self,
        n: int,
        label: Label | Iterable[Label] | None,
        seed: int | None,
        truncation: float | None,
        model: str | None,
        chunk: int,
    ) -> None:
        """Raises InvalidArgumentError."""
        self.n = integer("n", n, 1, SEED_LIMIT - 1)
        self.seed = random_seed(self.n) if seed is None else integer("seed", seed, 0, SEED_LIMIT - self.n)
        self.chunk = integer("chunk", chunk, 1, MAX_IMAGES)
        self.model = model
        """The generator: the one asked for, else the one that answered first."""
        self._artifact: str | None = None
        self._labels: Iterator[object] | None = None
        self._label: Label | None = None
        if is_one_label(label):
            self._label = label_of(label)
        elif label is not None:
            self._labels = entries_of("label", label)
        self._truncation = truncation
        # Wrong arguments are found out where they are given, not at the first image.
        generate_request(1, self._label, self.seed, None, None, truncation, model)

    def exchanges(self) -> Iterator[Exchange[Generation]]:
        """The requests in order, made as they are needed. Raises InvalidArgumentError for a wrong label."""
        for start in range(0, self.n, self.chunk):
            size = min(self.chunk, self.n - start)
            label: Label | list[Label] | None = self._label
            if self._labels is not None:
                label = [label_of(value) for value in islice(self._labels, size)]
                if len(label) < size:
                    given = counted(start + len(label), "label", "labels")
                    raise InvalidArgumentError(
                        f"label ended after {given}: give one for each of the {self.n} images", param="label"
                    )
            yield generate_exchange(
                generate_request(size, label, self.seed + start, None, None, self._truncation, self.model)
            )

    def accept(self, generation: Generation) -> None:
        """Raises UnexpectedResponseError if another generator drew these images than those before, or another version
        of it."""
        if self.model is not None and generation.model != self.model:
            raise UnexpectedResponseError(
                f"the images come from {generation.model!r} now, and those before from {self.model!r}: "
                "name the generator with model=",
                request_id=generation.request_id,
            )
        self.model = generation.model
        before, now = self._artifact, generation.artifact
        if before is not None and now is not None and now != before:
            raise UnexpectedResponseError(
                f"the service has another version of {self.model!r} now (artifact {now[:12]}, and {before[:12]} "
                "before), in which a seed may be another image: start the stream again",
                request_id=generation.request_id,
            )
        self._artifact = now or before

    def explain(self, error: BaseException, done: int) -> BaseException:
        """An error of a chunk, in words of the stream."""
        if isinstance(error, InvalidRequestError) and error.param == "n":
            error = InvalidRequestError(
                f"chunk is {self.chunk}: the service does not give that many images in one request, "
                f"give a smaller chunk ({str(error).replace(f'. {MORE_IMAGES}', '')})",
                status=error.status,
                code=error.code,
                param="chunk",
            )
        if isinstance(error, GanError):
            error.add_note(f"{done} of {self.n} images came; the next one's seed is {self.seed + done}")
        return error


class StreamProgress:
    """Where a stream is: what both kinds of it tell."""

    def __init__(self, plan: StreamPlan, ahead: int) -> None:
        self._plan = plan
        self._ahead = integer("ahead", ahead, 1, MAX_AHEAD)
        self.done = 0
        """How many images were given so far."""
        self._exchanges = plan.exchanges()
        self._images: Iterator[Image] = iter(())  # of the chunk that is being given
        self._is_broken = False  # a chunk failed, or the wait for it was given up

    def _refuse_broken(self) -> None:
        """Raises GanError after a failure: images are missing, and nobody is to take the end for that of all."""
        if self._is_broken:
            raise GanError(
                f"the stream broke off after {self.done} of {self.n} images: start another one with "
                f"seed={self.seed + self.done} for the rest"
            )

    @property
    def seed(self) -> int:
        """Seed of the first image; image i has seed + i."""
        return self._plan.seed

    @property
    def n(self) -> int:
        """Number of images in all."""
        return self._plan.n

    @property
    def model(self) -> str | None:
        """Name of the generator; None before the first image if none was asked for."""
        return self._plan.model


class ImageStream(StreamProgress, Iterator[Image]):
    """The images of `client.stream`, in the order of their seeds. Close it, or use it as a context manager, to stop
    its requests before the last image; a stream that nobody holds any more stops too. Several threads may share one:
    each image goes to one of them."""

    def __init__(self, session: Session, plan: StreamPlan, ahead: int) -> None:
        super().__init__(plan, ahead)
        self._session = session
        self._turn = Lock()
        self._flying: deque[Future[Generation]] = deque()
        self._stop = Stop()

    def __next__(self) -> Image:
        """The next image. Raises GanError if its chunk fails for good, and at each call after that."""
        with self._turn:
            while True:
                for image in self._images:
                    self.done += 1
                    return image
                generation = self._next_chunk()
                if generation is None:
                    self._refuse_broken()
                    raise StopIteration
                self._images = iter(generation)

    def _next_chunk(self) -> Generation | None:
        try:
            self._fill()
            if not self._flying:
                return None
            generation = self._flying.popleft().result()
            if self._stop.is_set():  # another thread closed it when the images had just come
                return None
            self._plan.accept(generation)
            self._fill()  # before these are used: the next ones are drawn meanwhile
        except StoppedError:  # another thread closed it
            return None
        except BaseException as error:
            self._is_broken = True
            self.close()
            explained = self._plan.explain(error, self.done)
            if explained is error:
                raise
            raise explained from error
        return generation

    def close(self) -> None:
        """Give up the images that were not given yet. Requests under way end with the next bytes they receive."""
        self._stop.set()
        self._flying.clear()
        self._images = iter(())
        self._exchanges = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if stop := getattr(self, "_stop", None):
            stop.set()

    def __repr__(self) -> str:
        return f"ImageStream(n={self.n}, seed={self.seed}, done={self.done}, model={self.model!r})"

    def _fill(self) -> None:
        from concurrent.futures import Future

        while len(self._flying) < self._ahead:
            exchange = next(self._exchanges, None)
            if exchange is None:
                return
            future: Future[Generation] = Future()
            # A daemon, which holds no reference to the stream: neither Ctrl-C nor forgetting the stream waits for it.
            Thread(target=_fetch, args=(self._session, exchange, self._stop, future), daemon=True).start()
            self._flying.append(future)


def _fetch(session: Session, exchange: Exchange[Generation], stop: Stop, future: Future[Generation]) -> None:
    try:
        future.set_result(session.ask(exchange, stop).parse())
    except BaseException as error:  # noqa: BLE001  it is raised where the result is waited for
        future.set_exception(error)
