"""A GPT-2 under torchrun, for comparison: PyTorch's DistributedDataParallel over
Gloo, with a checkpoint every so many steps, as torchrun's documentation asks of
scripts that it restarts.

Rank 0 prints one JSON object a line: a step, once the optimizer has made it. Each
rank prints its process id when it starts. The data are random numbers that cost
nothing to make.
"""

import argparse
import contextlib
import json
import math
import os

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

VOCABULARY = 50257


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        parts = self.qkv(self.ln_1(x)).split(width, dim=2)
        q, k, v = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in parts
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))


class Gpt2(nn.Module):
    def __init__(self, layers, heads, width, positions):
        super().__init__()
        self.wte = nn.Embedding(VOCABULARY, width)
        self.wpe = nn.Embedding(positions, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.ln_f = nn.LayerNorm(width)
        for weight in (self.wte.weight, self.wpe.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.ln_f(x), self.wte.weight)
        return F.cross_entropy(
            logits[:, :-1].reshape(-1, VOCABULARY), ids[:, 1:].reshape(-1)
        )


def say(**what):
    print(json.dumps(what), flush=True)


def main():
    parser = argparse.ArgumentParser()
    for flag in ("layers", "heads", "width", "positions", "sl", "bs", "micro-batches"):
        parser.add_argument(f"--{flag}", type=int, required=True)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--checkpoint-every", type=int, required=True)
    args = parser.parse_args()

    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    restart = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
    say(rank=rank, pid=os.getpid(), restart=restart)
    dist.init_process_group("gloo")
    torch.manual_seed(0)
    model = Gpt2(args.layers, args.heads, args.width, args.positions)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    step = 0
    if os.path.exists(args.checkpoint):
        state = torch.load(args.checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step = state["step"]
    parallel = nn.parallel.DistributedDataParallel(model)
    parameters = list(model.parameters())
    while True:
        optimizer.zero_grad(set_to_none=False)
        for micro_batch in range(args.micro_batches):
            last = micro_batch + 1 == args.micro_batches
            ids = torch.randint(VOCABULARY, (args.bs, args.sl))
            with contextlib.nullcontext() if last else parallel.no_sync():
                loss = parallel(ids) / args.micro_batches
                loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        assert math.isfinite(loss.item())
        step += 1
        if rank == 0:
            say(step=step, restart=restart)
            if step % args.checkpoint_every == 0:
                partial = args.checkpoint + ".partial"
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "step": step,
                }
                torch.save(state, partial)
                os.replace(partial, args.checkpoint)


main()
