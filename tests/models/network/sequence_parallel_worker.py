"""Run by the tests in processes of their own: sequence_parallel_worker.py CASES OUT RANK WORLD INIT.

For each case (a JSON object a line), every worker of a group runs its part of the rows; rank 0 writes the loss, the
logits and the gradients, summed over workers, to OUT.
"""

import json
import sys

import numpy as np
import torch
import torch.distributed as dist

from models.network import ModelSettings, Transformer
from models.network.sequence_parallel import SequenceGroup, share_sequences

VOCABULARY = 61


def network(case):
    shape = ModelSettings(vocabulary_size=VOCABULARY, hidden_size=48, layers=2, feed_forward_size=64, **case["model"])
    model = Transformer(shape, seed=3)
    with torch.no_grad():  # larger weights than the initial ones, so that attention is far from uniform
        for weight in model.parameters():
            weight.mul_(4 if weight.ndim == 2 else 1)
    model.checkpoint_activations(case["checkpoints"])
    return model


def batch(case):
    draw = np.random.default_rng(case["seed"])
    lengths = case["lengths"]
    documents = np.stack([np.repeat(np.arange(len(row)), row) for row in lengths])
    tokens = draw.integers(0, VOCABULARY, documents.shape)
    labels = draw.integers(0, VOCABULARY, documents.shape)
    labels[draw.random(documents.shape) < 0.3] = -100
    return {"input_ids": tokens, "labels": labels, "documents": documents}


def main():
    torch.set_num_threads(1)
    cases, out, rank, world, init = sys.argv[1:6]
    rank, world = int(rank), int(world)
    dist.init_process_group("gloo", init_method=init, rank=rank, world_size=world)
    group = SequenceGroup.join(world)
    results = []
    with open(cases) as lines:
        for case in map(json.loads, lines):
            model = network(case)
            share_sequences(model, group)
            whole = batch(case)
            mine, documents = group.part(whole), group.documents(whole["documents"])
            tokens, labels = torch.from_numpy(mine["input_ids"]), torch.from_numpy(mine["labels"])
            loss, count = model.token_loss(tokens, labels, documents)
            loss.backward()
            sums = {name: weight.grad for name, weight in model.named_parameters()}
            sums |= {"loss": loss.detach(), "count": count}
            for value in sums.values():
                dist.all_reduce(value)
            with torch.no_grad():
                logits = model(tokens, documents)
            parts = [torch.empty_like(logits) for _ in range(world)]
            dist.all_gather(parts, logits)
            results.append(sums | {"logits": torch.cat(parts, 1)})
    if rank == 0:
        torch.save(results, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
