"""Calls functions through the client that openapi-python-client made in the folder `client` beside the document.

python check.py FOLDER URL VALUES: every function of VALUES with every value; what comes back must be the same, as the
client's own types and as it was on the wire.
"""

import importlib
import inspect
import json
import re
import sys
import typing
from pathlib import Path

from openapi_spec_validator import validate

folder, url, values = sys.argv[1:]
document = json.loads((Path(folder) / "openapi.json").read_text())
validate(document)
sys.path.insert(0, folder)
from client import Client  # noqa: E402

client = Client(base_url=url, timeout=30)


def function(name):
    """The module of a function, and the class of its arguments."""
    tag = document["paths"][f"/api/v1/functions/{name}"]["post"]["tags"][0]
    module = importlib.import_module(f"client.api.{tag}." + re.sub(r"\W+", "_", name))
    annotation = inspect.signature(module._get_kwargs).parameters["body"].annotation
    classes = [one for one in (annotation, *typing.get_args(annotation)) if hasattr(one, "from_dict")]
    return module, classes[0]


def plain(value):
    """A value of the client's types as JSON."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, list):
        return [plain(one) for one in value]
    return getattr(value, "value", value)


def call(name, arguments):
    module, body = function(name)
    body = body.from_dict(arguments)
    assert body.to_dict() == arguments, (name, arguments, body)
    return module.sync_detailed(client=client, body=body)


def main():
    # One function after another has its own module, so all of them were generated.
    for path in document["paths"]:
        function(path.removeprefix("/api/v1/functions/"))
    calls = 0
    for name, expected in json.loads(Path(values).read_text()).items():
        for value in expected:
            answer = call(name, {"value": value})
            assert answer.status_code == 200, (name, value, answer.content)
            assert json.loads(answer.content) == value, (name, value, answer.content)
            assert plain(answer.parsed) == value, (name, value, answer.parsed)
            calls += 1
    created = call("types.odd.create_user", {"user": {"name": "Ada", "role": "Admin"}}).parsed
    assert (created.id, created.name, created.role.value) == (7, "Ada", "Admin"), created
    defaults = function("types.odd.defaults")[0].sync(client=client)
    assert defaults == [None, "", None, "42"], defaults
    print(calls, "calls")


main()
