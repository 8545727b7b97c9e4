"""``/v1/models``."""

from starlette.responses import Response

from batch_gateway.core.excerpts import excerpt
from batch_gateway.services.models import ModelService
from batch_gateway.web.api.routing import ApiRequest, HandlersByPath, answer
from batch_gateway.web.envelope import ApiError
from batch_gateway.web.openai_models import ModelList, ModelObject


class ModelListRoutes:
    def __init__(self, models: ModelService) -> None:
        self._models = models

    @property
    def routes(self) -> HandlersByPath:
        """A model's name may have slashes; the server has decoded those that were encoded."""
        return {
            "/v1/models": {"GET": self.list},
            "/v1/models/{model:path}": {"GET": self.get},
        }

    async def list(self, _call: ApiRequest) -> Response:
        models = await self._models.list()
        return answer(ModelList(data=[ModelObject.of(model) for model in models]))

    async def get(self, call: ApiRequest) -> Response:
        name = call.request.path_params["model"]
        model = await self._models.get(name)
        if model is None:
            raise ApiError(
                404,
                f"The model `{excerpt(name)}` does not exist",
                param="model",
                code="model_not_found",
            )
        return answer(ModelObject.of(model))
