"""GET /metrics, for Prometheus."""

from fastapi import APIRouter, Response
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from server.api.dependencies import ServiceDependency
from server.api.metrics import cache_metrics
from server.api.operator_route import OperatorRoute

router = APIRouter(tags=["operation"], route_class=OperatorRoute)


@router.get("/metrics", response_class=Response)
async def get_metrics(service: ServiceDependency) -> Response:
    """Counters and gauges of all workers, since each was started."""
    reports = await service.models.deployments.cache_reports()
    return Response(cache_metrics(reports), media_type=CONTENT_TYPE_PLAIN_0_0_4)
