"""Runs the official code on what comes in, one JSON line a request: a process of its own, for it has globals.

Usage: official_worker.py TRAVELPLANNING_FOLDER. Requests: {"tools": {"folder", "language", "calls"}} gives the answers,
{"score": {"folder", "plan", "meta"}} gives {"checks", "commonsense", "hard", "personalized"}.
"""

import contextlib
import io
import json
import sys
import types
from pathlib import Path
from typing import Any, ClassVar

ROOT = Path(sys.argv[1])
FILES = {
    "query_train_info": "trains/trains.csv",
    "query_flight_info": "flights/flights.csv",
    "query_hotel_info": "hotels/hotels.csv",
    "query_attraction_details": "attractions/attractions.csv",
    "recommend_attractions": "attractions/attractions.csv",
    "search_location": "locations/locations_coords.csv",
    "query_road_route_info": "transportation/distance_matrix.csv",
    "recommend_restaurants": "restaurants/restaurants.csv",
    "query_restaurant_details": "restaurants/restaurants.csv",
}


def stub_framework() -> dict[str, Any]:
    """What the official tools need of qwen-agent: a base class, a decorator, a dictionary, and a look at arguments."""
    base: Any = types.ModuleType("qwen_agent.tools.base")
    base.TOOL_REGISTRY = {}

    class BaseTool:
        name = description = ""
        parameters: ClassVar[dict[str, Any]] = {}

        def __init__(self, cfg: Any = None) -> None:
            self.cfg = cfg

        def _verify_json_format_args(self, params: dict[str, Any]) -> dict[str, Any]:
            for key in self.parameters["required"]:
                if key not in params:
                    raise ValueError(f"{key} is required")
            for key, value in params.items():
                if key in self.parameters["properties"] and not isinstance(value, str):
                    raise ValueError(f"{key} is no string")
            return params

    def register_tool(name: str) -> Any:
        def register(cls: Any) -> Any:
            cls.name = name
            base.TOOL_REGISTRY[name] = cls
            return cls

        return register

    base.BaseTool, base.register_tool = BaseTool, register_tool
    for name in ("qwen_agent", "qwen_agent.tools"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["qwen_agent.tools.base"] = base
    return base.TOOL_REGISTRY


def run_tools(registry: dict[str, Any], request: dict[str, Any]) -> list[str]:
    tools = {
        name: registry[name](cfg={"language": request["language"], "database_path": f"{request['folder']}/{file}"})
        for name, file in FILES.items()
    }
    answers = []
    for name, arguments in request["calls"]:
        try:
            answers.append(tools[name].call(arguments))
        except Exception as error:  # noqa: BLE001 - as the official loop does
            answers.append(json.dumps({"error": str(error)}))
    return answers


def run_score(request: dict[str, Any]) -> dict[str, Any]:
    from evaluation.constraints_commonsense import eval_commonsense
    from evaluation.constraints_hard import eval_hard
    from evaluation.eval_converted import calculate_hard_score, calculate_weighted_score

    checks = eval_commonsense(request["plan"], request["meta"], Path(request["folder"]))
    hard = eval_hard(request["plan"], request["meta"])
    return {
        "checks": {name: result[0] for name, result in checks.items()},
        "commonsense": calculate_weighted_score(checks)["total_weighted_score"],
        "hard": {name: result[0] for name, result in hard.items()},
        "personalized": calculate_hard_score(hard)["score"],
    }


def main() -> None:
    sys.path.insert(0, str(ROOT))
    registry = stub_framework()
    evaluation: Any = types.ModuleType("evaluation")  # its __init__ would import openai
    evaluation.__path__ = [str(ROOT / "evaluation")]
    sys.modules["evaluation"] = evaluation
    with contextlib.redirect_stdout(io.StringIO()):
        import tools  # noqa: F401
    for line in sys.stdin:
        request = json.loads(line)
        with contextlib.redirect_stdout(io.StringIO()):
            answer = run_tools(registry, request["tools"]) if "tools" in request else run_score(request["score"])
        print(json.dumps(answer), flush=True)  # noqa: T201 - its answer


main()
