"""The models of the page and of the HTTP interface, by name."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from lipsync_jax import weights
from lipsync_jax.evaluation.sync_models import SyncModel
from lipsync_jax.synthesis import model_info

Model = TypeVar("Model")


class ModelShelf(Generic[Model]):
    """Models of one task by name, each loaded when first needed."""

    def __init__(
        self,
        task: str,
        option: str,
        folders: Sequence[Path],
        load: Callable[[Path], Model],
    ) -> None:
        """Names the models; none is loaded.

        Args:
            task: see `weights.TASKS`.
            option: of the command line that adds one.
            folders: of checkpoints; empty for the built-in model.
            load: loads a checkpoint.
        """
        default = weights.default(task)
        built_in = [] if folders or default is None else [weights.path(default)]
        self._folders: dict[str, Path] = {}
        for folder in dict.fromkeys([*folders, *built_in]):
            name = folder.absolute().name
            self._folders[str(folder) if name in self._folders else name] = folder
        self._task, self._option, self._load = task, option, load
        self._loaded: dict[Path, Model] = {}
        self._lock = threading.Lock()

    @property
    def names(self) -> list[str]:
        """Returns the folders' names, or the whole path of a second folder of one name."""
        return [*self._folders]

    def missing(self) -> str:
        """Says why there is no model for this task, and how to add one; empty if there is."""
        if self._folders:
            return ""
        return (
            f"no model for {self._task} is loaded: start `lipsync web {self._option} DIR` with the "
            "folder of a training run, or of a converted checkpoint (`lipsync models` lists both)"
        )

    def folder(self, name: str | None) -> Path:
        """Returns the folder of a model; None is the default.

        Raises:
            ValueError: there is no such model.
        """
        if not self._folders:
            raise ValueError(self.missing())
        name = self.names[0] if name is None else name
        if not isinstance(name, str) or name not in self._folders:  # any JSON value, from a script
            raise ValueError(f"model={name!r} is unknown; choose from {', '.join(self.names)}")
        return self._folders[name]

    def get(self, name: str | None = None) -> Model:
        """Loads a model once; see `folder`."""
        folder = self.folder(name)
        with self._lock:
            if folder not in self._loaded:
                self._loaded[folder] = self._load(folder)
            return self._loaded[folder]


class CreditedSyncModel(NamedTuple):
    """A sync model, and its line of credit, see `model_info.credit`."""

    model: SyncModel
    credit: str

    @classmethod
    def load(cls, folder: Path) -> "CreditedSyncModel":
        """Loads a checkpoint."""
        return cls(SyncModel.load(folder), model_info.credit(folder))
