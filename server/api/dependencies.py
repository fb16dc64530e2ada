"""What the routes share: the settings, the served model, and the way to the engine."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from server.api.served_model import ServedModel
from server.config import Settings
from server.workers.client import EngineClient


@dataclass(frozen=True)
class Service:
    """Set once by create_app."""

    settings: Settings
    model: ServedModel
    client: EngineClient


def get_service(request: Request) -> Service:
    """The service of the app that got the request."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


ServiceDependency = Annotated[Service, Depends(get_service)]
