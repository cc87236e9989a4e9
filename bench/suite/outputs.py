"""The tensors in what a kernel's work returned, as named NumPy arrays.

Mappings, lists, tuples and what ``tf.nest`` flattens become one array per leaf. Composite tensors become their
components: the values and row splits of a ragged tensor, the indices, values and shape of a sparse one. Everything else
is refused by name, because an output that is silently left out could differ unnoticed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Iterator, List, Tuple

import numpy as np

from bench.suite import variants
from bench.suite.arrays import Array, native_copy, text_array

#: Attributes that are the components of a composite tensor, by the name of its class.
_COMPONENTS = {
    "RaggedTensor": ("flat_values", "nested_row_splits"),
    "SparseTensor": ("indices", "values", "dense_shape"),
    "IndexedSlices": ("indices", "values", "dense_shape"),
}
#: What to return instead of a value that cannot be compared, by the name of its class or of one of its bases.
_REMEDIES = {
    "NoneType": "leave it out, or return a tensor",
    "Iterator": "return a list of what it yields",
    "DatasetV2": "return some of its elements, for example list(dataset.take(10))",
    "TensorArray": "return its stack()",
    "History": "return its attribute history",
    "Set": "return a sorted list",
    "KerasTensor": "return the result of calling the model",
    "SymbolicTensor": "return it from the tf.function that computes it",
}
_REMEDY = "return tensors, arrays, numbers, text, or mappings and lists of them"
#: What to return instead of an object of another library, such as a table or an image.
_CONVERT = "return its parts as arrays, for example its values and its index"
#: Classes whose ``numpy()`` returns all of their value, by the name of the class or of one of its bases.
_TENSORS = ("Tensor", "Variable")
_SCALARS = (bool, int, float, complex)
_MAX_DEPTH = 64
#: Name, key and value of a part of a container.
_Part = Tuple[str, str, Any]
#: The number that Keras appends to the names of layers and variables to make them unique in a session.
_AUTOMATIC_NUMBER = re.compile(r"_(\d+)(?=[/_:' ]|$)")


class OutputError(ValueError):
    """A kernel returned something that cannot be compared. The message names the output and says what to return.

    ``where`` is the file and line of the user's kernel that returned it, "" if unknown.
    """

    where: str = ""


@dataclass(frozen=True)
class Leaf:
    """One array of a result.

    Attributes:
        name: Name by which the report shows it.
        identity: What it is called in a digest: the path to it, with types, and the kind of the value.
        array: Its copy, contiguous and in native byte order.
        device: Device of the tensor (``GPU:0``, ``CPU:0``), or "" for an array that is not a TensorFlow tensor.
    """

    name: str
    identity: str
    array: Array
    device: str = ""


def leaves(value: Any, tf: Any = None, *, step: bool = False) -> List[Leaf]:
    """Return all arrays of a value that a kernel's work returned, or of one training step.

    Args:
        value: A mapping of names to outputs; also a sequence, a Keras model or an optimizer, whose parts are numbered,
            or a single tensor.
        tf: TensorFlow, which is needed for variants only.
        step: Whether it is a step of a training, of which no part may change with the next step.

    Raises:
        OutputError: A part cannot be compared, or there is nothing to compare.
    """
    if value is None or isinstance(value, (str, bytes)) or _is(value, "Iterator"):
        raise OutputError(
            f"work() returned {described(value)}, but must return a mapping of names to tensors, "
            "for example {'loss': loss}"
        )
    found: Dict[str, Leaf] = {}
    for leaf in _Flattener(tf, step=step).walk(value, "", "", 0):
        name = leaf.name or "output"
        while name in found:  # {"a/b": x, "a": {"b": y}}
            name += "'"
        found[name] = dataclasses.replace(leaf, name=name)
    if not found or (isinstance(value, (Mapping, list, tuple)) and not value):
        raise OutputError("work() returned no outputs, so there is nothing to compare")
    if not any(leaf.array.size for leaf in found.values()):
        raise OutputError(f"output {next(iter(found))!r} is empty, so there is nothing to compare")
    return list(found.values())


def identities_of_first(own: Mapping[str, str], first: Mapping[str, str]) -> Dict[str, str]:
    """Give the outputs of a later call the identities of the first call, where only automatic numbers differ.

    Keras numbers layers by session: a second model in one session has other names (``dense_3/kernel``), but the same
    variables. Names that differ in such numbers only are matched by the order of the numbers.

    Args:
        own: Name of each output -> its identity.
        first: The same of the first call.
    """
    ranks, first_of = _ranks(own.values()), {rank: identity for identity, rank in _ranks(first.values()).items()}
    return {name: first_of.get(ranks[identity], identity) for name, identity in own.items()}


def _ranks(identities: Iterable[str]) -> Dict[str, str]:
    """Return each identity with a rank in the place of the numbers in automatic names."""
    groups: Dict[str, List[Tuple[List[int], str]]] = {}
    for identity in identities:
        numbers = [int(number) for number in _AUTOMATIC_NUMBER.findall(identity)]
        groups.setdefault(_AUTOMATIC_NUMBER.sub("", identity), []).append((numbers, identity))
    return {
        identity: f"{skeleton}#{rank}"
        for skeleton, members in groups.items()
        for rank, (_, identity) in enumerate(sorted(members))
    }


class _Flattener:
    """Walks through a returned value. Classes of TensorFlow are recognized by name, because it may be absent."""

    def __init__(self, tf: Any, *, step: bool) -> None:
        self.tf = tf
        self.step = step

    def walk(self, value: Any, name: str, path: str, depth: int) -> Iterator[Leaf]:
        """Yield the leaves of a value that is shown as ``name`` and found at ``path``."""
        if depth > _MAX_DEPTH:
            raise OutputError(f"output {name!r} is nested more than {_MAX_DEPTH} deep")
        if self.step and (_is(value, "Variable") or _variables(value) is not None):
            raise OutputError(
                f"output {name!r} of a step is {described(value)}, whose value is read after the last step: "
                "return a copy of it, for example tf.identity(variable)"
            )
        leaf = _python_leaf(value, name, path) or _tensor_leaf(value, name, path)
        if leaf is not None:
            yield leaf
            return
        kind, parts = self._parts(value, name)
        if not parts:
            empty = kind or ("mapping" if isinstance(value, Mapping) else "list")
            yield Leaf(name, f"{path} empty {empty}", np.empty(0, np.uint8))
        for shown, key, part in parts:
            yield from self.walk(part, _joined(name, shown), f"{path}{kind}{key}", depth + 1)

    def _parts(self, value: Any, name: str) -> Tuple[str, List[_Part]]:
        """Return the kind of a container, and its parts; raises OutputError for anything else."""
        own_kind = f"{type(value).__name__} "
        if value is None or isinstance(value, type):
            raise _refusal(value, name)
        if isinstance(value, Mapping):
            return "", [_entry(key, part, name) for key, part in value.items()]
        fields = _fields(value)
        if fields is not None:
            return own_kind, [(field, f".{field}", getattr(value, field)) for field in fields]
        if _opaque_type(value) == "variant" and self.tf is not None:
            types, elements = variants.parsed(self.tf, value)
            if elements:
                return types, [(str(number), f"[{number}]", part) for number, part in enumerate(elements)]
        parts = _numbered(value)
        if parts is None:
            raise _refusal(value, name)
        return "" if _is_list(value) else own_kind, parts


def _python_leaf(value: Any, name: str, path: str) -> Leaf | None:
    """Return text, a number, or a list of them as a leaf; None for anything else."""
    if isinstance(value, (str, bytes, bytearray)):
        return Leaf(name, f"{path} text", text_array([value], ()))
    if _is(value, "DType", "TensorShape"):  # a field of an extension type
        return Leaf(name, f"{path} {type(value).__name__}", text_array([str(value)], ()))
    if isinstance(value, _SCALARS):
        array = np.array(value)
        if array.dtype.hasobject:  # an integer of more than 64 bits
            return Leaf(name, f"{path} integer", text_array([str(value)], ()))
        return Leaf(name, f"{path} array", array)
    if _is_list(value) and value and not hasattr(value, "_fields"):
        return _of_scalars(value, name, path)
    return None


def _of_scalars(values: Sequence[Any], name: str, path: str) -> Leaf | None:
    """Return a list of numbers of one type, or of texts, as one leaf; None for any other list."""
    if all(isinstance(value, (str, bytes)) for value in values):
        return Leaf(name, f"{path} texts", text_array(list(values), (len(values),)))
    if len({type(value) for value in values}) > 1 or not isinstance(values[0], (*_SCALARS, np.generic)):
        return None
    array = np.array(values)
    rounded = isinstance(values[0], int) and array.dtype.kind not in "biu"  # NumPy makes [2**63, -1] float64
    if rounded or array.dtype.hasobject or array.dtype.names:
        return None
    return Leaf(name, f"{path} numbers", native_copy(array))


def _tensor_leaf(value: Any, name: str, path: str) -> Leaf | None:
    """Return an array, tensor or variable as a leaf; None for what has parts.

    Other objects that NumPy can convert may hold more than their values: a table has an index and names, too.
    """
    if isinstance(value, (np.ma.MaskedArray, type)) or _opaque_type(value):
        return None
    if isinstance(value, (np.ndarray, np.generic)):
        return _array_leaf(value, name, path)
    if _is(value, *_COMPONENTS):
        return None
    if _is(value, *_TENSORS) and callable(getattr(value, "numpy", None)):
        try:
            array = value.numpy()
        except (AttributeError, NotImplementedError) as error:  # a symbolic tensor
            raise _refusal(value, name) from error
        return dataclasses.replace(_array_leaf(array, name, path), device=_device(value))
    return None


def _array_leaf(value: Any, name: str, path: str) -> Leaf:
    """Return an array or scalar as a leaf; an array of objects only if all of them are text."""
    if isinstance(value, (str, bytes)):  # a string tensor without dimensions
        return Leaf(name, f"{path} text", text_array([value], ()))
    array = np.asarray(value)
    if array.dtype.kind == "T":  # NumPy's strings of variable width
        array = array.astype(object)
    if array.dtype.names:
        raise OutputError(f"output {name!r} is an array of records, not of numbers: return one array per field")
    if not array.dtype.hasobject:
        return Leaf(name, f"{path} array", native_copy(array))
    elements = array.reshape(-1).tolist()
    objects = [element for element in elements if not isinstance(element, (str, bytes))]
    if objects:
        kind = described(objects[0])
        raise OutputError(f"output {name!r} holds Python objects ({kind}), not numbers: {_REMEDY}")
    return Leaf(name, f"{path} text", text_array(elements, array.shape))


def _entry(key: Any, part: Any, name: str) -> _Part:
    """Return name, key and value of an entry of a mapping. The key of ``1`` is not that of ``"1"``."""
    if isinstance(key, str):
        key = str(key)  # also of np.str_
    elif not isinstance(key, (bytes, bool, int, float, tuple)):
        raise OutputError(f"{f'output {name!r}' if name else 'work()'} has {described(key)} as a name: use text")
    return str(key), f"/{key!r}", part


def _numbered(value: Any) -> List[_Part] | None:
    """Return the parts of a sequence, of a model or optimizer, or of a tensor that has components; None for others.

    They are numbered with leading zeros, so that their names sort by number.
    """
    parts = [("", part) for part in value] if _is_list(value) else _variables(value)
    if parts is None:
        components = _components(value)
        parts = None if components is None else [("", component) for component in components]
    if parts is None:
        return None
    width = len(str(max(len(parts) - 1, 0)))
    return [(f"{number:0{width}} {name}".strip(), f"[{number}]", part) for number, (name, part) in enumerate(parts)]


def _components(value: Any) -> List[Any] | None:
    """Return the components of an optional, a masked array or another composite tensor; None for anything else."""
    if callable(getattr(value, "has_value", None)) and callable(getattr(value, "get_value", None)):
        return [value.get_value()] if bool(value.has_value()) else []
    if isinstance(value, np.ma.MaskedArray):
        return [np.asarray(value), np.ma.getmaskarray(value), value.fill_value]
    to_components = getattr(getattr(value, "_type_spec", None), "_to_components", None)
    if to_components is None or _is(value, "DatasetV2", "Iterator", "TensorArray"):
        return None
    components = to_components(value)
    return list(components) if _is_list(components) else [components]


def _fields(value: Any) -> List[str] | None:
    """Return the fields of a named tuple, attrs class, dataclass, extension type or known composite, else None."""
    known = next((attributes for name, attributes in _COMPONENTS.items() if _is(value, name)), None)
    if known is not None:
        return [field for field in known if getattr(value, field) is not None]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(value._fields)
    if dataclasses.is_dataclass(value):
        return [field.name for field in dataclasses.fields(value)]
    attributes = getattr(value, "__attrs_attrs__", None)
    if attributes is None:
        extension_type = getattr(value, "_tf_extension_type_fields", None)
        attributes = extension_type() if callable(extension_type) else None
    return None if attributes is None else [field.name for field in attributes]


def _variables(value: Any) -> List[Tuple[str, Any]] | None:
    """Return the variables of a Keras model, layer or optimizer, or of a ``tf.Module``, each with its short name.

    Those of a compiled model include the variables of its optimizer.
    """
    if hasattr(value, "_type_spec"):
        return None
    try:
        found: Any = getattr(value, "variables", None)
    except ValueError:  # the variables do not exist yet
        return None
    if callable(found) and not _is_list(found):
        found = found()  # the optimizers of some Keras releases
    if not _is_list(found) or not found or not all(callable(getattr(variable, "numpy", None)) for variable in found):
        return None
    names = [str(variable.name).rpartition("/")[2].partition(":")[0] for variable in found]
    own = [(_AUTOMATIC_NUMBER.sub("", name), variable) for name, variable in zip(names, found)]
    optimizer = getattr(value, "optimizer", None) if hasattr(value, "get_weights") else None
    known = {id(variable) for variable in found}
    more = [] if optimizer is None else _variables(optimizer) or []
    return own + [(f"optimizer/{name}", variable) for name, variable in more if id(variable) not in known]


def _refusal(value: Any, name: str) -> OutputError:
    if _is(value, "Tensor") and not _is(value, *_REMEDIES):
        remedy = _REMEDIES["SymbolicTensor"] if not callable(getattr(value, "numpy", None)) else _REMEDY
    else:
        fallback = _CONVERT if hasattr(value, "__array__") or hasattr(value, "numpy") else _REMEDY
        remedy = next((_REMEDIES[base] for base in _bases(value) if base in _REMEDIES), fallback)
    subject = f"output {name!r} is" if name else "work() returned"
    return OutputError(f"{subject} {described(value)}, which tfrepro cannot compare: {remedy}")


def described(value: Any) -> str:
    """Return ``None``, ``a Foo`` or ``an IndexedSlices``."""
    if value is None:
        return "None"
    name = f"class {value.__name__}" if isinstance(value, type) else type(value).__name__
    if _opaque_type(value):
        name = f"tensor of type {_opaque_type(value)}"
    return f"{'an' if name.strip('_')[:1].lower() in tuple('aeiou') else 'a'} {name}"


def _opaque_type(value: Any) -> str:
    """Return the dtype of a tensor of ``variant`` or ``resource``, which NumPy cannot represent, "" for others."""
    name = getattr(getattr(value, "dtype", None), "name", "")
    return name if name in ("variant", "resource") and not isinstance(value, type) else ""


def _bases(value: Any) -> List[str]:
    """Return the names of the classes of a value, and of the abstract classes that it implements."""
    names = [base.__name__ for base in type(value).__mro__]
    if hasattr(value, "__next__"):
        names.append("Iterator")
    return [*names, "Set"] if isinstance(value, (set, frozenset)) else names


def _is(value: Any, *names: str) -> bool:
    return not isinstance(value, type) and any(name in names for name in _bases(value))


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview, range))


def _joined(name: str, shown: str) -> str:
    if not name or not shown:
        return name or shown
    return f"{name}[{shown}]" if shown[:1].isdigit() else f"{name}/{shown}"


def _device(value: Any) -> str:
    """Return the device of a tensor (``GPU:0``, ``CPU:0``), or "" for an array that is not a TensorFlow tensor."""
    name = str(getattr(value, "device", "") or "")
    return ":".join(name.rsplit(":", 2)[-2:]) if "device:" in name else ""
