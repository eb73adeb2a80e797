"""The benchmark's own tools and scorer, in a process of their own: one JSON line in, one out.

They change sys.path, print, and keep the cart in a file, so that they must not run in the process of the tests.
"""

import contextlib
import io
import json
import sys
from pathlib import Path


def main() -> None:
    root = Path(sys.argv[1]) / "shoppingplanning"
    sys.path[:0] = [str(root / "tools"), str(root), str(root / "evaluation")]
    import base_shopping_tool
    import evaluation_pipeline
    import tools  # noqa: F401 - it registers them

    made = {}
    for line in sys.stdin:
        asked = json.loads(line)
        folder = asked["folder"]
        with contextlib.redirect_stdout(io.StringIO()):
            if "name" not in asked:
                answer = evaluation_pipeline.evaluate_single_case(Path(folder))
            else:
                key = folder, asked["name"]
                if key not in made:
                    made[key] = base_shopping_tool.TOOL_REGISTRY[asked["name"]](cfg={"database_path": folder})
                try:
                    answer = made[key].call(json.dumps(asked["arguments"]))
                except Exception as error:  # noqa: BLE001 - as the benchmark's agent does
                    answer = json.dumps({"error": str(error)})
        print(json.dumps(answer), flush=True)  # noqa: T201 - the protocol


if __name__ == "__main__":
    main()
