"""A pickle reader that runs nothing: plain containers and a fixed table of functions.

Python's `pickle` imports and calls whatever a file names, and its compiled reader lets
a file change attributes of what it reached. This one interprets the few opcodes that
plain containers, tensors and arrays are written with. A name in a file is never
imported; it is looked up in the tables of the caller, and a name that is not there ends
the reading, or, with `objects`, stands for itself: what a file makes of it is an
`Instance` that knows its name and nothing else. Either way nothing of it is run.
"""

from collections.abc import Callable, Mapping
import pickletools
from typing import Any, BinaryIO

_LITERALS = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
_FRESH: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
}
# Hashing a tuple of tuples of tuples ... can take for ever or crash Python.
_KEYS = (str, int, float, bytes, type(None))
_ORDERED_DICT = "collections.OrderedDict"
# By which the oldest protocols make objects of the class that is the first argument.
_MAKERS = ("copy_reg._reconstructor", "copyreg._reconstructor")


class Refused(Exception):
    """A file that asks for more than it may; the message continues "<file> "."""


class Pending:
    """What a function returns where the file gives the rest afterwards, with BUILD."""

    def __init__(self) -> None:
        self.places: list[int] = []  # Where the reader remembers it.

    def build(self, state: Any) -> Any:
        """Returns what takes the place of this from now on; checks `state`."""
        raise NotImplementedError


def refused_name(name: str, advice: str) -> Refused:
    """The error about a name that is not admitted."""
    return Refused(f"wants to run {name!r}; refused. {advice}")


class Stranger:
    """A name that no table has; it can be held and named, nothing else."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class Instance(Pending):
    """What a file makes of a name that no table has: an object that was not made.

    Neither arguments nor items are kept, only the state, which is the `__dict__` of most
    objects and all that a module needs.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.state: Any = None

    def build(self, state: Any) -> "Instance":
        self.state = state
        return self


class _Function:
    """An admitted function inside a pickle; all a pickle can do with it is call it."""

    __slots__ = ("run",)

    def __init__(self, run: Callable[..., Any]) -> None:
        self.run = run


def stands_for(value: Any, function: Callable[..., Any]) -> bool:
    """Whether a value that a file names is this admitted function."""
    return type(value) is _Function and value.run == function


def _ordered_dict(pairs: list[Any] | tuple[Any, ...] = ()) -> dict[Any, Any]:
    result: dict[Any, Any] = {}
    for key, value in pairs:
        _put(result, key, value)
    return result


def _is_key(key: Any) -> bool:
    """Whether a dict may have this key."""
    return isinstance(key, _KEYS) and not (type(key) is int and key.bit_length() > 64)


def _put(target: Any, key: Any, value: Any) -> None:
    if type(target) is not dict:
        raise Refused("sets an item of something that is no dict; refused.")
    if not _is_key(key):
        raise Refused("uses a dictionary key that is no string or number; refused.")
    target[key] = value


def kind_of(value: Any) -> str:
    """What a value is, for messages: the name in the file of what was not made."""
    named = isinstance(value, Stranger | Instance)
    return value.name if named else type(value).__name__


class _Machine:
    """The stack machine behind `load`."""

    def __init__(
        self,
        functions: Mapping[str, Callable[..., Any]],
        values: Mapping[str, Any],
        persistent: Callable[[Any], Any],
        advice: str,
        objects: bool,
    ) -> None:
        self._names: dict[str, Any] = dict(values)
        self._names[_ORDERED_DICT] = _Function(_ordered_dict)
        self._names.update({name: _Function(run) for name, run in functions.items()})
        self._persistent = persistent
        self._advice = advice
        self._objects = objects
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[Any], None]] = {
            "PROTO": lambda arg: None,
            "FRAME": lambda arg: None,
            "MARK": lambda arg: self._marks.append(len(self._stack)),
            "TUPLE": lambda arg: self._push(tuple(self._take_items())),
            "TUPLE1": lambda arg: self._push(tuple(self._take(1))),
            "TUPLE2": lambda arg: self._push(tuple(self._take(2))),
            "TUPLE3": lambda arg: self._push(tuple(self._take(3))),
            "LIST": lambda arg: self._push(self._take_items()),
            "DICT": lambda arg: self._new_dict(self._take_items()),
            "APPEND": lambda arg: self._extend(self._take(1)),
            "APPENDS": lambda arg: self._extend(self._take_items()),
            "SETITEM": lambda arg: self._set_items(self._take(2)),
            "SETITEMS": lambda arg: self._set_items(self._take_items()),
            "PUT": self._memoize,
            "BINPUT": self._memoize,
            "LONG_BINPUT": self._memoize,
            "MEMOIZE": lambda arg: self._memoize(len(self._memo)),
            "GET": lambda arg: self._push(self._memo[arg]),
            "BINGET": lambda arg: self._push(self._memo[arg]),
            "LONG_BINGET": lambda arg: self._push(self._memo[arg]),
            "GLOBAL": lambda arg: self._name(arg.replace(" ", ".", 1)),
            "STACK_GLOBAL": lambda arg: self._name(".".join(self._take(2))),
            "REDUCE": lambda arg: self._call(*self._take(2)),
            "NEWOBJ": lambda arg: self._new(*self._take(2)),
            "BUILD": lambda arg: self._build(*self._take(1)),
            "BINPERSID": lambda arg: self._push(self._persistent(*self._take(1))),
        }
        if objects:
            self._steps |= {
                "POP": lambda arg: self._take(1),
                "POP_MARK": lambda arg: self._take_items(),
                "EMPTY_SET": lambda arg: self._push([]),
                "ADDITEMS": lambda arg: self._extend(self._take_items()),
                "FROZENSET": lambda arg: self._push(tuple(self._take_items())),
                "NEWOBJ_EX": lambda arg: self._new(*self._take(3)[:2]),
            }

    def run(self, stream: BinaryIO) -> Any:
        """Reads up to and including the end of one pickle."""
        for opcode, arg, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return self._take(1)[0]
            if opcode.name in _LITERALS:
                self._push(arg)
            elif opcode.name in _FRESH:
                self._push(_FRESH[opcode.name]())
            elif opcode.name in self._steps:
                self._steps[opcode.name](arg)
            else:
                raise Refused(
                    f"uses the pickle opcode {opcode.name}; refused. {self._advice}"
                )
        raise ValueError("the pickle has no end")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _take(self, count: int) -> list[Any]:
        """Removes and returns the top `count` values."""
        start = len(self._stack) - count
        if not 0 <= start <= len(self._stack):
            raise ValueError("the pickle takes more than it has put on the stack")
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def _take_items(self) -> list[Any]:
        """Removes and returns the values above the last mark."""
        return self._take(len(self._stack) - self._marks.pop())

    def _memoize(self, index: int) -> None:
        value = self._memo[index] = self._stack[-1]
        if isinstance(value, Pending):
            value.places.append(index)

    def _new_dict(self, items: list[Any]) -> None:
        self._push({})
        self._set_items(items)

    def _extend(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is Instance:
            return
        if type(self._stack[-1]) is not list:
            raise Refused("appends to something that is no list; refused.")
        self._stack[-1].extend(items)

    def _set_items(self, items: list[Any]) -> None:
        if type(self._stack[-1]) is Instance:
            return
        for key, value in zip(items[::2], items[1::2], strict=True):
            if self._objects and not _is_key(key):
                key = f"<{kind_of(key)}>"  # Nothing is looked up under such a key.
            _put(self._stack[-1], key, value)

    def _name(self, name: str) -> None:
        if name not in self._names and not self._objects:
            raise refused_name(name, self._advice)
        known = name in self._names
        self._push(self._names[name] if known else Stranger(name))

    def _new(self, kind: Any, args: Any) -> None:
        if type(kind) not in (Stranger, Instance) or type(args) is not tuple:
            raise Refused(f"uses the pickle opcode NEWOBJ; refused. {self._advice}")
        self._push(Instance(kind.name))

    def _call(self, function: Any, args: Any) -> None:
        if type(function) in (Stranger, Instance):
            made = function.name in _MAKERS and type(args) is tuple and args[:1]
            self._push(Instance(kind_of(made[0] if made else function)))
            return
        if type(function) is not _Function or type(args) is not tuple:
            raise Refused(f"wants to call {type(function).__name__!r}; refused.")
        self._push(function.run(*args))

    def _build(self, state: Any) -> None:
        """Ends a `Pending`; drops the attributes of an `OrderedDict` (`_metadata`)."""
        target = self._stack[-1]
        if isinstance(target, Pending):
            self._stack[-1] = target.build(state)
            for index in target.places:
                self._memo[index] = self._stack[-1]
        elif type(target) is not dict:
            raise Refused("wants to set attributes of an object; refused.")


def load(
    stream: BinaryIO,
    *,
    functions: Mapping[str, Callable[..., Any]],
    values: Mapping[str, Any],
    persistent: Callable[[Any], Any],
    advice: str,
    objects: bool = False,
) -> Any:
    """Reads one pickle and leaves the stream right behind it.

    Args:
      stream: Where the pickle begins.
      functions: What a file may call, by its full name in the file; called with
        positional arguments that the file chooses, so each must check them. One that
        returns a `Pending` gets the state that the file gives with BUILD.
      values: Names that stand for a value, such as `"torch.float32"`.
      persistent: Turns a persistent id into its object.
      advice: Ends the message about a name or an opcode that is not admitted.
      objects: Whether unknown names are read as `Stranger`, and what is called or made
        by them as `Instance`, so that one can read what lies beside them; a set is a
        list or a tuple then, and a key that is no string or number the text of its
        kind. Without it they end the reading.

    Returns:
      The pickled object; every `OrderedDict` becomes a `dict` without attributes.

    Raises:
      Refused: The file asks for a name, a call or an opcode that is not admitted.
      Exception: Any other, where the bytes are no complete pickle.
    """
    machine = _Machine(functions, values, persistent, advice, objects)
    return machine.run(stream)
