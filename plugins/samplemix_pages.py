"""SampleMix's pages in Airflow's navigation, behind its login: users who may see the DAG of corpus runs may see them."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

DAG_ID = "samplemix_corpus_run"
PREFIX = "/samplemix"


class Pages:
    """The application, made at the first request: every Airflow process loads plugins, and only the API server has pages."""

    def __init__(self) -> None:
        self._app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        if self._app is None:
            from airflow.api_fastapi.core_api.security import requires_access_dag

            from samplemix_core.pages.app import make_app

            self._app = make_app(requires_access_dag("GET", param_dag_id=DAG_ID))
        await self._app(scope, receive, send)


class SampleMixPages(AirflowPlugin):
    """The pages, their place in the navigation, and a run's results on that run's page."""

    name = "samplemix_pages"
    fastapi_apps = [{"app": Pages(), "url_prefix": PREFIX, "name": "SampleMix"}]  # noqa: RUF012 Airflow's way
    external_views = [  # noqa: RUF012 Airflow's way
        {"name": "SampleMix", "href": f"{PREFIX}/", "url_route": "samplemix", "destination": "nav", "nav_top_level": True},
        {"name": "Mixture", "href": f"{PREFIX}/runs/{{RUN_ID}}", "url_route": "samplemix-made", "destination": "dag_run"},
    ]
