"""From a kernel's source to machine code, by Numba: a function that Python calls, in an object file.

A function that Numba compiles takes its arrays apart, as many pointers and numbers. What is called by Python here gets
the objects, and reads their memory: that of an array as every extension compiled against NumPy does, that of a tuple as
those compiled against this version of Python do. (Files are kept for one version alone.)
"""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core.cgutils import get_or_insert_function
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.np.arrayobj import populate_array
from numba.np.numpy_support import from_dtype

_INT, _DOUBLE = ir.IntType(64), ir.DoubleType()
_OBJECT = ir.IntType(8).as_pointer()
_HEAD = object.__basicsize__  # of every object: what it is, and how often it is referred to
_ITEMS = tuple.__basicsize__  # before the items of a tuple
_DATA, _DIMENSIONS = 0, 2  # of an array, behind its head, in words: where its numbers are, and its shape
_DTYPES = {"d": "float64", "q": "int64", "h": "int32"}


def entry_point(kernel: Any, symbol: str, dtype: str, *, keeps_lock: bool, makes_views: bool) -> bytes:
    """Return an object file with a function that Python calls with a kernel's arguments.

    It returns an integer, 0 where the kernel returns nothing, and raises what it is bound to where the kernel raises,
    as it does under NUMBA_BOUNDSCHECK alone.

    Parameters
    ----------
    kernel : function
        Plain or jitted; its annotations say what it takes (`calls`).
    symbol : str
        The name of the function.
    dtype : str
        What the numbers of a network are.
    keeps_lock : bool
        Whether Python's lock is kept meanwhile.
    makes_views : bool
        Whether its functions hand views of arrays to one another: that takes longer to compile.
    """
    source = getattr(kernel, "py_func", kernel)
    taken = types_of(source, dtype)
    options = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_nrt": makes_views}
    inner = njit(error_model="numpy", nogil=True, **options)(source)
    with global_compiler_lock:
        inner.compile(taken)
        compiled = inner.overloads[taken]
        library = cpu_target.target_context.codegen().create_library(symbol)
        library.enable_object_caching()
        library.add_linking_library(compiled.library)
        library.add_ir_module(_wrapper(compiled, symbol, keeps_lock=keeps_lock))
        library.finalize()
        return machine_code(library, symbol)


def machine_code(library: Any, symbol: str) -> bytes:
    """Return the object file of one of Numba's libraries, of whose functions one has that name."""
    library.get_pointer_to_function(symbol)  # which has it turned into machine code
    _, _, (code, _) = library.serialize_using_object_code()
    return bytes(code)


def types_of(kernel: Any, dtype: str) -> tuple[Any, ...]:
    """Return Numba's types of a kernel's arguments, as its annotations say."""
    hints = get_type_hints(kernel, include_extras=True)
    hints.pop("return")
    return tuple(_type_of(hint, dtype) for hint in hints.values())


def _type_of(hint: Any, dtype: str) -> Any:
    if hint in (int, bool):
        return types.int64
    if hint is float:
        return types.float64
    if hasattr(hint, "_fields"):
        fields = get_type_hints(hint, include_extras=True).values()
        return types.BaseTuple.from_types([_type_of(field, dtype) for field in fields], hint)
    if get_origin(hint) is tuple:
        return types.BaseTuple.from_types([_type_of(item, dtype) for item in get_args(hint)])
    letter, n_dimensions = hint.__metadata__[0]
    numbers = from_dtype(np.dtype(_DTYPES.get(letter.lower(), dtype)))
    return types.Array(numbers, int(n_dimensions), "C", readonly=letter.isupper())


# ---- what Python calls


def _wrapper(compiled: Any, symbol: str, *, keeps_lock: bool) -> ir.Module:
    """Return the function that Python calls, which takes objects and calls what has been compiled."""
    context, module = cpu_target.target_context, ir.Module(symbol)
    module.triple = llvm.get_process_triple()
    signature = compiled.signature
    function = ir.Function(module, ir.FunctionType(_OBJECT, [_OBJECT, _OBJECT.as_pointer(), _INT]), symbol)
    error, given, _ = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    values = [_taken(builder, kind, _word(builder, given, i)) for i, kind in enumerate(signature.args)]
    thread = None if keeps_lock else _python(builder, "PyEval_SaveThread", _OBJECT)
    callee = context.declare_function(module, compiled.fndesc)
    status, result = context.call_conv.call_function(builder, callee, signature.return_type, signature.args, values)
    if thread is not None:
        _python(builder, "PyEval_RestoreThread", ir.VoidType(), thread)
    with builder.if_then(status.is_error, likely=False):
        message = context.insert_const_string(module, f"an index beyond the end of an array in {symbol}")
        _python(builder, "PyErr_SetString", ir.VoidType(), error, message)
        builder.ret(ir.Constant(_OBJECT, None))
    if signature.return_type == types.none:
        number = ir.Constant(_INT, 0)
    else:
        number = context.cast(builder, result, signature.return_type, types.int64)
    builder.ret(_python(builder, "PyLong_FromLongLong", _OBJECT, number))
    return module


def _taken(builder: ir.IRBuilder, kind: Any, thing: Any) -> Any:
    """Return what a kernel takes, from the object that Python has."""
    context = cpu_target.target_context
    if isinstance(kind, types.BaseTuple):
        items = _behind(builder, thing, _ITEMS)
        return context.make_tuple(
            builder, kind, [_taken(builder, own, _word(builder, items, i)) for i, own in enumerate(kind.types)]
        )
    if not isinstance(kind, types.Array):
        call, number = ("PyLong_AsLongLong", _INT) if kind == types.int64 else ("PyFloat_AsDouble", _DOUBLE)
        return _python(builder, call, number, thing)
    fields = _behind(builder, thing, _HEAD)
    numbers = context.get_data_type(kind.dtype).as_pointer()
    dimensions = builder.bitcast(_word(builder, fields, _DIMENSIONS), _INT.as_pointer())
    shape = [builder.load(builder.gep(dimensions, [ir.Constant(_INT, i)])) for i in range(kind.ndim)]
    size = ir.Constant(_INT, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [size]
    for n in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], n))
    array = context.make_array(kind)(context, builder)
    start = builder.bitcast(_word(builder, fields, _DATA), numbers)
    populate_array(array, data=start, shape=shape, strides=strides, itemsize=size, meminfo=None)
    return array._getvalue()  # noqa: SLF001  as Numba's own functions do


def _behind(builder: ir.IRBuilder, thing: Any, offset: int) -> Any:
    """Return the place so many bytes behind the start of an object, as that of pointers."""
    place = builder.gep(thing, [ir.Constant(_INT, offset)])
    return builder.bitcast(place, _OBJECT.as_pointer())


def _word(builder: ir.IRBuilder, pointers: Any, number: int) -> Any:
    """Return one of several pointers in a row."""
    return builder.load(builder.gep(pointers, [ir.Constant(_INT, number)]))


def _python(builder: ir.IRBuilder, name: str, result: ir.Type, *values: Any) -> Any:
    """Call a function of Python's, one of `loading.PYTHON_CALLS`."""
    typed = ir.FunctionType(result, [value.type for value in values])
    return builder.call(get_or_insert_function(builder.module, typed, name), values)
