"""A pickle read as text: what it would build is worked out opcode by opcode; nothing of it is imported or called."""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, Final

from gan_export.refusal import IntakeError
from gan_export.untrusted.messages import shown

from .calls import build, call, find, new
from .limits import Limits
from .symbols import MalformedError, Unknown, Unusable, size_text

_OPCODES: Final = {opcode.code.encode("latin-1"): opcode for opcode in pickletools.opcodes}
PROTOCOL: Final = 2  # torch.save's own, and the only one that torch.load reads with weights_only=True
MAX_NAME: Final = 512  # characters of a global's name
MEMBER_BYTES: Final = 8  # that a list or tuple takes for each of its values
ENTRY_BYTES: Final = 96  # that a dict does
ADVICE: Final = "save the weights alone: torch.save(model.state_dict(), ...)"

_NOT_PLAIN: Final = ("torch._tensor._rebuild_from_type_v2", "torch._utils._rebuild_parameter_with_state")
"""What makes tensors of a subclass (its own name comes next), or with attributes."""

PersistentLoad = Callable[[tuple[Any, ...]], Any]


class Evaluation:
    """A pickle's stack machine over symbols.

    Globals that are not allowed are gathered in `refused`, and the evaluation goes on around them, so that a whole
    module can be told from a state dict with one odd value.
    """

    def __init__(self, load_storage: PersistentLoad, limits: Limits) -> None:
        self.refused: list[str] = []
        self.unusable: list[Unusable] = []
        self._load_storage = load_storage
        self._limits = limits
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}  # a dict: an index costs nothing, whatever it is
        self._protocol = 0
        self._spent = 0  # bytes, about, of what calls were given and made

    def run(self, stream: BinaryIO) -> Any:
        """Work out the pickle that begins at the stream's position; the stream stands behind it afterwards.

        Raises:
            IntakeError: damaged, or it does what no state dict does.
        """
        try:
            self._run(stream)
            (value,) = self._stack
        except IntakeError:
            self._refuse_globals()
            raise
        except (ValueError, IndexError, KeyError, OverflowError, UnicodeError) as error:
            self._refuse_globals()
            raise MalformedError("its pickle is cut off or damaged") from error
        self._refuse_globals()
        if self._protocol > PROTOCOL:
            raise IntakeError(
                f"is pickled with protocol {self._protocol}, which can't be read safely; "
                "save it again with torch.save and no pickle_protocol"
            )
        return value

    def _run(self, stream: BinaryIO) -> None:
        for _ in range(self._limits.max_opcodes):
            opcode = _OPCODES[stream.read(1)]
            handler = _HANDLERS.get(opcode.name)
            if handler is None:
                raise MalformedError(f"its pickle has an opcode that state dicts don't have: {opcode.name}")
            self._protocol = max(self._protocol, opcode.proto)
            handler(self, opcode.arg.reader(stream) if opcode.arg else None)
            if opcode.name == "STOP":
                return
        raise IntakeError(f"its pickle has more than {self._limits.max_opcodes:,} opcodes; {ADVICE}")

    def _refuse_globals(self) -> None:
        if not self.refused:
            return
        first = shown(self.refused[0])
        if self.refused[0] in _NOT_PLAIN:
            what = shown(self.refused[:2][-1])
            raise IntakeError(
                f"holds tensors with a class or attributes of their own ({what}), and unpickling them would run code; "
                "if you trust it, load it and save plain ones: "
                "torch.save({name: value.as_subclass(torch.Tensor) for name, value in model.state_dict().items()}, ...)"
            )
        if any(name.startswith(("torch.nn.modules.", "torch.nn.parallel.", "__main__.")) for name in self.refused):
            raise IntakeError(
                f"is a whole pickled module ({first}), not a state dict, and unpickling it would run code; "
                f"if you trust it, load it and {ADVICE}"
            )
        raise IntakeError(
            f"its pickle asks for {first}, which could run code; nothing of it was run; if you trust it, {ADVICE}"
        )

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise IndexError("the stack is empty")
        return self._stack.pop()

    def _pop_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self._stack[start:]
        del self._stack[start:]
        return items

    def _top(self) -> Any:
        value = self._pop()
        self._push(value)
        return value

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _tuple(self, length: int) -> None:
        self._push(tuple([self._pop() for _ in range(length)][::-1]))

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Unknown):
            raise MalformedError("its pickle appends to something that is not a list")

    def _set(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, Unknown):
            return
        if type(target) not in (dict, OrderedDict) or len(items) % 2:
            raise MalformedError("its pickle sets keys of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                if isinstance(key, Unknown):
                    continue
                raise IntakeError(f"has a dict key of type {type(key).__name__}, and keys must be names; {ADVICE}")
            target[key] = value

    def _find(self, name: str) -> None:
        found = find(name)
        if found is None:
            self.refused.append(name)
            found = Unknown()
        self._push(found)

    def _stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise MalformedError("its pickle asks for a global whose name is not text")
        if len(module) + len(name) > MAX_NAME:
            raise MalformedError(f"its pickle asks for a global whose name is longer than {MAX_NAME} characters")
        self._find(f"{module}.{name}")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._pop(), self._pop()
        self._spend(*(arguments if type(arguments) is tuple else ()))
        value = call(function, arguments)
        self._spend(value)
        if isinstance(value, Unusable):
            self.unusable.append(value)
        self._push(value)

    def _new(self, _: Any) -> None:
        arguments, cls = self._pop(), self._pop()
        self._push(new(cls, arguments))

    def _build(self, _: Any) -> None:
        state = self._pop()
        self._spend(state)
        build(self._top(), state)

    def _spend(self, *values: Any) -> None:
        """Raises IntakeError beyond what a state dict needs: what the memo holds is given to any number of calls."""
        self._spent += sum(map(_weight, values))
        if self._spent > self._limits.max_pickle_bytes:
            raise IntakeError(
                f"its pickle makes more than {size_text(self._limits.max_pickle_bytes)} of values; {ADVICE}"
            )

    def _persistent(self, _: Any) -> None:
        identity = self._pop()
        if type(identity) is not tuple:
            raise MalformedError("its pickle refers to something that is not a storage")
        if any(isinstance(part, Unknown) for part in identity):
            self._push(Unknown())
        else:
            self._push(self._load_storage(identity))

    def _remember(self, index: int) -> None:
        self._memo[index] = self._top()

    def _stop(self, _: Any) -> None:
        if len(self._stack) != 1 or self._marks:
            raise MalformedError("its pickle leaves more than one object")


def _weight(value: Any) -> int:
    """About how many bytes a copy of the value takes, without the values in it."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return ENTRY_BYTES * len(value)
    return MEMBER_BYTES * len(value) if isinstance(value, list | tuple) else 0


_Handler = Callable[[Evaluation, Any], None]


def _pushing(value: Callable[[Any], Any]) -> _Handler:
    return lambda machine, argument: machine._push(value(argument))


_VALUES: Final[dict[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE"), lambda argument: argument),
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES"), lambda argument: argument),
    "SHORT_BINSTRING": lambda argument: argument.encode("latin-1").decode("utf-8"),  # text of Python 2
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
}
# What torch.load reads with weights_only=True, and of later protocols what it takes to name the globals.
_HANDLERS: Final[dict[str, _Handler]] = {
    **{name: _pushing(value) for name, value in _VALUES.items()},
    "PROTO": lambda machine, argument: setattr(machine, "_protocol", max(machine._protocol, argument)),
    "FRAME": lambda _, __: None,
    "STOP": Evaluation._stop,
    "MARK": Evaluation._mark,
    "TUPLE": lambda machine, _: machine._push(tuple(machine._pop_mark())),
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "APPEND": lambda machine, _: machine._append([machine._pop()]),
    "APPENDS": lambda machine, _: machine._append(machine._pop_mark()),
    "SETITEM": lambda machine, _: machine._set([machine._pop(), machine._pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._set(machine._pop_mark()),
    "GLOBAL": lambda machine, argument: machine._find(argument.replace(" ", ".", 1)),
    "INST": lambda machine, argument: machine._find(argument.replace(" ", ".", 1)),
    "STACK_GLOBAL": Evaluation._stack_global,
    "REDUCE": Evaluation._reduce,
    "NEWOBJ": Evaluation._new,
    "BUILD": Evaluation._build,
    "BINPERSID": Evaluation._persistent,
    "BINPUT": Evaluation._remember,
    "LONG_BINPUT": Evaluation._remember,
    "MEMOIZE": lambda machine, _: machine._remember(len(machine._memo)),
    "BINGET": lambda machine, argument: machine._push(machine._memo[argument]),
    "LONG_BINGET": lambda machine, argument: machine._push(machine._memo[argument]),
}
