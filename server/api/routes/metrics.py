"""GET /metrics, for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from server.api.dependencies import ServiceDependency
from server.api.operator_route import OperatorRoute
from server.telemetry.metrics import all_metrics

router = APIRouter(tags=["operation"], route_class=OperatorRoute)


@router.get("/metrics", response_class=Response)
async def get_metrics(service: ServiceDependency) -> Response:
    """Of requests since the server started, and of each worker since it was started."""
    content = await all_metrics(service.metrics, service.models.deployments)
    return Response(content, media_type=CONTENT_TYPE_PLAIN_0_0_4)
