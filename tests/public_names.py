"""The public names of HRCA: what users import or call."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any


def module_names(module: ModuleType) -> Iterator[str]:
    """Yield the public functions, classes and methods of a module, and of the modules that its ``__all__`` names."""
    names = getattr(module, "__all__", None)
    if names is None:  # all that the module defines itself
        names = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    for name in names:
        value = getattr(module, name)
        if inspect.ismodule(value):
            yield from module_names(value)
        elif callable(value) and not name.startswith("_"):
            yield f"{module.__name__}.{name}"
            if inspect.isclass(value):
                yield from (f"{module.__name__}.{name}.{member}" for member in class_members(value))


def class_members(cls: type) -> Iterator[str]:
    """Yield the public methods and properties that HRCA defines, in the class or a mixin, but none of scvi-tools."""
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if not name.startswith("_") and (getattr(function, "__module__", None) or "").startswith("hrca"):
            yield name


def find(package: ModuleType, name: str) -> Any:
    """Return the class, function, or function behind a method or property of this name."""
    value = package
    for part in name.split(".")[1:]:
        value = inspect.getattr_static(value, part) if inspect.isclass(value) else getattr(value, part)
    return getattr(value, "fget", None) or getattr(value, "__func__", value)
