"""What the routes share: the settings, the models, and the route of a request to its model."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from server.api.access import caller_of
from server.api.batches import Batches
from server.api.call import call_of
from server.api.caller_settings import settings_of
from server.api.conversations import Conversations
from server.api.lease import enter_lease
from server.api.plan import Plan
from server.api.read_ahead import ReadAhead
from server.api.responses.background import Background
from server.api.responses.connection_memory import LocalResponses
from server.api.schemas.prompt import PromptRequest
from server.api.states import States
from server.config import Settings
from server.grammars.checker import GrammarChecker
from server.registry.manager import ModelManager, Route
from server.telemetry.request_metrics import RequestMetrics


@dataclass(frozen=True)
class Service:
    """Set once by create_app."""

    settings: Settings
    models: ModelManager
    states: States
    batches: Batches
    read_ahead: ReadAhead
    metrics: RequestMetrics
    conversations: Conversations
    background: Background
    local_responses: LocalResponses
    grammars: GrammarChecker

    def settings_for(self, request: Request) -> Settings:
        """The settings, with the caller's own limits of tokens."""
        return settings_of(caller_of(request), self.settings)

    def route(self, request: Request, model: str) -> Route:
        """Where the request goes that names this model; its workers stay until it is answered.

        Raises ApiError: model_not_found, model_not_loaded or loading.
        """
        # The middleware leaves this context when all of the answer is sent.
        return enter_lease(call_of(request.scope).exits, self.models, model)

    async def go_on(self, plan: Plan, body: PromptRequest, tenant: str, route: Route) -> Plan:
        """The plan, after the state that the request names, if any. Raises ApiError."""
        if not body.state_id:
            return plan
        return plan.after(await self.states.read_for(tenant, body.state_id, route))


def get_service(request: Request) -> Service:
    """The service of the app that got the request."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


ServiceDependency = Annotated[Service, Depends(get_service)]
