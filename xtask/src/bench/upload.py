"""Uploads a model directory with huggingface_hub, in one commit.

Arguments: endpoint, repository, directory. Prints one JSON object.
"""

import json
import os
import pathlib
import resource
import sys
import time

endpoint, repository, directory = sys.argv[1:]

import huggingface_hub

api = huggingface_hub.HfApi(endpoint=endpoint, token=os.environ["HF_TOKEN"])
started = time.monotonic()
api.create_repo(repository, exist_ok=True)
operations = [
    huggingface_hub.CommitOperationAdd(path.name, str(path))
    for path in sorted(pathlib.Path(directory).iterdir())
]
api.create_commit(repository, operations, commit_message="benchmark")
seconds = time.monotonic() - started
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(
    json.dumps(
        {
            "seconds": seconds,
            "peak_bytes": peak,
            "huggingface_hub": huggingface_hub.__version__,
        }
    )
)
