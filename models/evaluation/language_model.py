"""A model in Hugging Face format that answers batches of requests; one process, one thread, any causal model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.evaluation.requests import Answer, Batch, Decoding, Request
from models.network.directory import reading


class LanguageModel:
    """A causal model and its tokenizer, loaded once.

    Args:
        directory: what `AutoModelForCausalLM.from_pretrained` reads, a path or URI.
        device: a torch device.
        max_context: tokens the model is shown at most; its positions if None. Longer contexts lose their beginning.
    """

    def __init__(self, directory: str, device: str = "cpu", max_context: int | None = None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        with reading(directory) as root:
            self.tokenizer = AutoTokenizer.from_pretrained(root)
            model: Any = AutoModelForCausalLM.from_pretrained(root, dtype=torch.float32)
            self.model = model.to(device).eval()
        self.device = device
        positions = int(self.model.config.max_position_embeddings)
        self.longest = min(positions, max_context or positions)
        self.pad = self.tokenizer.pad_token_id or 0
        self.stops = _stop_ids(self.model.generation_config.eos_token_id, self.tokenizer.eos_token_id)

    def answer(self, batch: Batch) -> list[Answer]:
        """Answers in the batch's order."""
        import torch

        with torch.inference_mode():
            if batch.requests[0].kind == "generate":
                return self._generate(batch.requests)
            return self._loglikelihood(batch.requests)

    def _loglikelihood(self, requests: Sequence[Request]) -> list[Answer]:
        """Right-padded: in a causal model nothing to the right of a token can change its score."""
        import torch

        rows, spans, owners = [], [], []
        for owner, request in enumerate(requests):
            for whole, count in self._windows(request):
                rows.append(whole)
                spans.append(count)
                owners.append(owner)
        inputs = self._padded([row[:-1] for row in rows], left=False)
        # Of a long context only the end is scored, and its logits alone are made.
        first = min(len(row) - 1 - count for row, count in zip(rows, spans, strict=True))
        keep = inputs["input_ids"].shape[1] - first
        logits = self.model(**inputs, use_cache=False, logits_to_keep=keep).logits
        sums, greedy = [0.0] * len(requests), [True] * len(requests)
        for number, (row, count, owner) in enumerate(zip(rows, spans, owners, strict=True)):
            end = len(row) - 1 - first
            scores = logits[number, end - count : end].float()
            target = torch.tensor(row[-count:], device=scores.device)
            chosen = scores.gather(1, target[:, None])[:, 0] - scores.logsumexp(dim=1)
            sums[owner] += float(chosen.double().sum())
            greedy[owner] = greedy[owner] and bool((scores.argmax(dim=1) == target).all())
        return [Answer(loglikelihood=total, greedy=best) for total, best in zip(sums, greedy, strict=True)]

    def _windows(self, request: Request) -> list[tuple[list[int], int]]:
        """(tokens, how many of them are scored): one window, or several where the continuation alone is too long.

        The last token of a window is only predicted, so one more than the model's positions fits.
        """
        if not request.context or not request.continuation:
            raise ValueError("loglikelihood: expected at least one token of context and one of continuation")
        whole, count = [*request.context, *request.continuation], len(request.continuation)
        if count <= self.longest:
            return [(whole[-(self.longest + 1) :], count)]
        tail = whole[-(count + 1) :]
        windows = (tail[at : at + self.longest + 1] for at in range(0, count, self.longest))
        return [(window, len(window) - 1) for window in windows]

    def _generate(self, requests: Sequence[Request]) -> list[Answer]:
        """Left-padded, with a key-value cache; rows end one by one, the batch ends with its last row."""
        import torch

        decoding = requests[0].decoding
        room = max(1, self.longest - decoding.max_new_tokens)
        contexts = [list(request.context)[-room:] or [self.stops[0]] for request in requests]
        draws = [torch.Generator().manual_seed(request.seed) for request in requests]
        new: list[list[int]] = [[] for _ in requests]
        ended = [False] * len(requests)
        inputs = self._padded(contexts, left=True)
        mask, positions = inputs["attention_mask"], inputs["position_ids"]
        fed, cache = inputs["input_ids"], None
        for _ in range(min(decoding.max_new_tokens, max(1, self.longest - 1))):
            output = self.model(
                input_ids=fed,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = output.past_key_values
            scores = output.logits[:, -1].float().cpu()
            following = []
            for row in range(len(requests)):
                if ended[row]:
                    following.append(self.pad)
                    continue
                token = _choose(scores[row], contexts[row] + new[row], decoding, draws[row])
                following.append(token)
                if token in self.stops:
                    ended[row] = True
                    continue
                new[row].append(token)
                ended[row] = self._stopped(new[row], decoding.stop)
            if all(ended):
                break
            fed = torch.tensor(following, device=self.device)[:, None]
            mask = torch.cat([mask, mask.new_ones(len(requests), 1)], dim=1)
            positions = positions[:, -1:] + 1
        return [Answer(tokens=tuple(tokens), ended=end) for tokens, end in zip(new, ended, strict=True)]

    def _stopped(self, tokens: list[int], stop: tuple[str, ...]) -> bool:
        if not stop:
            return False
        longest = max(len(s) for s in stop)
        tail = self.tokenizer.decode(tokens[-(longest + 4) :])
        return any(s in tail for s in stop)

    def _padded(self, rows: Sequence[Sequence[int]], left: bool) -> dict[str, Any]:
        import torch

        width = max(len(row) for row in rows)
        ids = torch.full((len(rows), width), self.pad)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            place = slice(width - len(row), width) if left else slice(0, len(row))
            ids[number, place] = torch.tensor(row)
            mask[number, place] = 1
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
        named = {"input_ids": ids, "attention_mask": mask, "position_ids": positions}
        return {name: tensor.to(self.device) for name, tensor in named.items()}


class MaskedModel:
    """An encoder with a masked-language-model head.

    Args:
        directory: what `AutoModelForMaskedLM.from_pretrained` reads, a path or URI.
        device: a torch device.
    """

    def __init__(self, directory: str, device: str = "cpu") -> None:
        import torch
        from transformers import AutoModelForMaskedLM

        with reading(directory) as root:
            model: Any = AutoModelForMaskedLM.from_pretrained(root, dtype=torch.float32)
            self.model = model.to(device).eval()
        self.device = device

    def answer(self, batch: Batch) -> list[Answer]:
        """`fill` answers in the batch's order."""
        import torch

        width = max(len(request.context) for request in batch.requests)
        ids = torch.zeros((len(batch.requests), width), dtype=torch.long)
        labels = torch.full_like(ids, -100)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(batch.requests):
            n = len(request.context)
            ids[row, :n], labels[row, :n] = torch.tensor(request.context), torch.tensor(request.continuation)
            mask[row, :n] = 1
        with torch.inference_mode():
            output = self.model(input_ids=ids.to(self.device), attention_mask=mask.to(self.device))
        answers = []
        for row in range(len(batch.requests)):
            at = labels[row] != -100
            scores, target = output.logits[row].float().cpu()[at], labels[row][at]
            chosen = scores.gather(1, target[:, None])[:, 0] - scores.logsumexp(dim=1)
            right = int((scores.argmax(dim=1) == target).sum())
            answers.append(Answer(loglikelihood=float(chosen.double().sum()), right=right, hidden=int(at.sum())))
        return answers


def _choose(scores: Any, before: list[int], decoding: Decoding, draw: Any) -> int:
    """The next token's id; `scores` [V] are changed in place."""
    import torch

    if decoding.repetition_penalty != 1.0:
        seen = torch.tensor(sorted(set(before)))
        old = scores[seen]
        scores[seen] = torch.where(old > 0, old / decoding.repetition_penalty, old * decoding.repetition_penalty)
    for sequence in decoding.banned:
        prefix = list(sequence[:-1])
        if not prefix or before[-len(prefix) :] == prefix:
            scores[sequence[-1]] = -torch.inf
    if decoding.temperature == 0:
        return int(scores.argmax())
    if decoding.top_k:
        lowest = scores.topk(min(decoding.top_k, len(scores))).values[-1]
        scores[scores < lowest] = -torch.inf
    p = torch.softmax(scores / decoding.temperature, dim=0)
    return int(torch.multinomial(p, 1, generator=draw))


def _stop_ids(*ids: int | list[int] | None) -> list[int]:
    flat: list[int] = []
    for each in ids:
        flat.extend(each if isinstance(each, list) else [] if each is None else [each])
    return list(dict.fromkeys(flat)) or [0]
