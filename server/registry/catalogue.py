"""From the settings to the models that this server knows, by id."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from server.checkpoints.checkpoint import CheckpointError
from server.checkpoints.folders import SUFFIXES
from server.checkpoints.locate import find_checkpoint, locate, name_of
from server.checkpoints.model_files import entries_of, file_of
from server.config import Settings, SettingsError
from server.config_models import NamedModelSettings
from server.home_folder import expanded
from server.model_names import split_adapter
from server.protocol.messages import ModelSpec

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be loaded, and what the settings say of it."""

    id: str
    options: NamedModelSettings
    by_admin: bool = False
    """Known by a request to /v1/admin, not by the settings."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that requests may use: the id, the aliases, and those of its states."""
        own = (self.id, *self.options.aliases)
        return own + tuple(f"{name}:{state}" for name in own for state in self.options.states)

    @property
    def spec(self) -> ModelSpec:
        """What its workers are told; the names of files are those of this user's home."""
        options = self.options
        return ModelSpec(
            id=self.id,
            path=options.path,
            tokenizer=options.tokenizer,
            dtype=options.dtype,
            states={name: _expanded(file) for name, file in options.states.items()},
            adapters=[_expanded_adapter(text) for text in options.adapters],
            reasoning=options.reasoning,
            fill_in_middle=options.fill_in_middle,
            reranker=options.reranker and _expanded(options.reranker),
        )


@dataclass(frozen=True)
class Catalogue:
    """All models of the settings; `default` is the id of the one for requests without a name."""

    default: str
    entries: dict[str, ModelEntry]


def read_catalogue(settings: Settings) -> Catalogue:
    """The default model, [models], and what lies in model.directories.

    Raises SettingsError when two models want the same name or a folder is not there, and
    CheckpointError when the default model is not there.
    """
    options = settings.model.model_dump(exclude={"name", "directories"})
    default = settings.model.name or locate(settings.model.path, settings.model.tokenizer).name
    entries = [ModelEntry(default, NamedModelSettings(**options))]
    entries += [ModelEntry(id_, named) for id_, named in settings.models.items()]
    check_names(entries)
    catalogue = {entry.id: entry for entry in entries}
    taken = {name for entry in entries for name in entry.names}
    for entry in _in_directories(settings.model.directories):
        if entry.id in taken:
            log.info("%s is not listed: its name is taken", entry.options.path)
        else:
            catalogue[entry.id] = entry
            taken.add(entry.id)
    return Catalogue(default, catalogue)


def check_names(entries: list[ModelEntry]) -> None:
    """Raises SettingsError when a name could mean two models."""
    owners: dict[str, str] = {}
    for entry in entries:
        for name in entry.names:
            if name in owners:
                raise SettingsError(
                    f"models.{entry.id}: the name {name!r} is already that of {owners[name]!r}; "
                    "ids and aliases must be unique"
                )
            owners[name] = entry.id


def _in_directories(directories: list[str]) -> Iterator[ModelEntry]:
    for text in directories:
        folder = expanded(text)
        try:
            paths = entries_of(folder)
        except CheckpointError as error:
            raise SettingsError(f"model.directories: {error}; name a folder of models") from None
        for path in paths:
            entry = _entry_of(folder, path)
            if entry is not None:
                yield entry


def _entry_of(folder: Path, path: Path) -> ModelEntry | None:
    """What is in a folder as a model; None if it is none. Headers are read where names are not
    enough."""
    if path.name.startswith(".") or not path.name.isprintable():
        return None
    is_folder = False
    try:
        is_folder = path.is_dir()
        if not is_folder and path.suffix not in SUFFIXES:
            return None
        file_of(folder, path.name)
        find_checkpoint(path)
    except (CheckpointError, OSError) as error:
        if not is_folder or path.is_symlink():  # another folder may hold something else
            log.warning("not listed: %s", error)
        return None
    return ModelEntry(name_of(path), NamedModelSettings(path=str(path), preload=False))


def _expanded(file: str) -> str:
    return str(expanded(file))


def _expanded_adapter(text: str) -> str:
    file, _ = split_adapter(text)
    return _expanded(file) + text.removeprefix(file)
