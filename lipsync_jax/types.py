"""Aliases of types that Python's annotations cannot describe more closely.

The reason for `Any` is given beside each alias.
"""

from collections.abc import Mapping
from typing import Any

Tree = Any  # a pytree of arrays, whose nesting depends on the network or method
Variables = Mapping[str, Any]  # of `Module.apply`: collections of pytrees of arrays
Json = Any  # returned by `json.loads`
ModelCard = Mapping[str, Any]  # a checkpoint's model card: JSON values, whose types differ by key
ModelCards = Mapping[str, ModelCard]  # of the frozen networks, by name
Argument = Any  # passed on unchanged to a function that says which types it takes
Untrusted = Any  # read from an untrusted file; checked before use
Untyped = Any  # an object of a library without annotations
Entry = Any  # a value of a record, an example or a batch: an array, a number or text
