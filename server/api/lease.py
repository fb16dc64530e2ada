"""From the name of a model to its workers, and what clients are told where there are none."""

from contextlib import ExitStack

from server.api.errors import ApiError, not_ready
from server.pool.client import NotReadyError
from server.registry.manager import ModelManager, NotLoadedError, Route, UnknownModelError


def enter_lease(exits: ExitStack, models: ModelManager, model: str) -> Route:
    """Where a request goes that names this model; its workers stay until `exits` closes.

    Raises ApiError: model_not_found, model_not_loaded or loading.
    """
    try:
        route: Route = exits.enter_context(models.lease(model))
    except UnknownModelError as error:
        raise ApiError("model_not_found", str(error), "model") from None
    except NotLoadedError as error:
        raise ApiError("model_not_loaded", str(error), "model") from None
    except NotReadyError as error:
        raise not_ready(error) from None
    return route
