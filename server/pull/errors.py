"""What goes wrong between here and the Hugging Face Hub, as one line each."""

import errno

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from server.checkpoints.hub import HubModel

EXPECTED = (HfHubHTTPError, httpx2.HTTPError, httpx2.InvalidURL, HFValidationError, OSError)
"""What explain() knows."""

_AGAIN = "run the same command again, it goes on where it stopped"


def explain(error: BaseException, model: HubModel, revision: str) -> str:
    """One line for an EXPECTED error: what is wrong, and what to do."""
    hub = constants.ENDPOINT
    if isinstance(error, OfflineModeIsEnabled):
        return f"{model}: not on this machine, and HF_HUB_OFFLINE forbids to download it"
    if isinstance(error, GatedRepoError):
        return f"{model.repo}: accept its terms at {hub}/{model.repo}, then set HF_TOKEN"
    if isinstance(error, RepositoryNotFoundError):
        return f"{model.repo}: no such repository at {hub}; if it is private, set HF_TOKEN"
    if isinstance(error, RevisionNotFoundError):
        return f"{model.repo}: no revision {revision}"
    if isinstance(error, EntryNotFoundError):
        return f"{model}: a file that the repository lists is not there; pull again"
    if isinstance(error, HfHubHTTPError):
        return _explain_status(error.response.status_code, model)
    if isinstance(error, httpx2.HTTPError | httpx2.InvalidURL | HFValidationError):
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"{model}: no connection to {hub}: {why}; {_AGAIN}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{model}: the disk is full; make room and {_AGAIN}"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or model}: {error.strerror}"
    # The library's own, of a file that came short.
    return f"{model}: {str(error).splitlines()[0]}; {_AGAIN}"


def _explain_status(status: int, model: HubModel) -> str:
    if status in (401, 403):
        return f"{model.repo}: {constants.ENDPOINT} refuses access ({status}); check HF_TOKEN"
    return f"{model.repo}: {constants.ENDPOINT} answers with HTTP status {status}; try later"
