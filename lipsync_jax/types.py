"""Names of types that Python's annotations cannot describe more closely.

`Any` stands in these aliases for a reason, given beside each.
"""

from collections.abc import Mapping
from typing import Any

Tree = Any  # a pytree of arrays: nested containers of a shape that only its maker knows
Variables = Mapping[str, Any]  # what `Module.apply` takes: collections of pytrees of arrays
Json = Any  # what `json.loads` returns
Card = Mapping[str, Any]  # a checkpoint's card, JSON: its values' types differ by key
Cards = Mapping[str, Card]  # the cards of the frozen networks, by name
Argument = Any  # is handed on as it is: what is called says which types it takes
Foreign = Any  # what a file of someone else's held; the code looks at it before using it
Native = Any  # an object of a library without annotations
Entry = Any  # of a record, an example or a batch, by name: an array, a number, text
