"""Reads a published commit as anybody would: huggingface_hub and transformers.

Arguments: endpoint, repository, commit, file of token ids. Prints one JSON object.
"""

import base64
import hashlib
import json
import pathlib
import sys
import tempfile

endpoint, repository, commit, ids_file = sys.argv[1:]

import huggingface_hub
import torch
import transformers

torch.manual_seed(0)
folder = pathlib.Path(
    huggingface_hub.snapshot_download(
        repository,
        revision=commit,
        endpoint=endpoint,
        token=False,
        cache_dir=tempfile.mkdtemp(),
    )
)


def counts(name):
    return name in ("config.json", "generation_config.json") or name.startswith("model")


digests = ""
for path in sorted(folder.iterdir(), key=lambda path: path.name):
    if counts(path.name):
        digest = hashlib.sha256(path.read_bytes()).digest()
        digests += base64.b64encode(digest).decode()
directory_hash = base64.b64encode(hashlib.sha256(digests.encode()).digest()).decode()

model = transformers.AutoModelForCausalLM.from_pretrained(folder)
model.eval()
losses = []
with torch.no_grad():
    for sequence in json.loads(pathlib.Path(ids_file).read_text()):
        ids = torch.tensor([sequence])
        losses.append(model(ids, labels=ids).loss.item())

print(
    json.dumps(
        {
            "loss": sum(losses) / len(losses),
            "hash": directory_hash,
            "huggingface_hub": huggingface_hub.__version__,
            "transformers": transformers.__version__,
            "files": sorted(path.name for path in folder.iterdir()),
        }
    )
)
