"""The chat template: one Jinja text that renders conversations in training and, stored in the export, in serving.

A conversation is a list of {"role": system | user | assistant, "content": text}. An assistant's turn is what is
learned: its content and the `<|end|>` that closes it (without which a model never stops). Every turn begins with its
role's special token, so no token ever spans two turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

END = "<|end|>"
"""Closes an assistant's turn; generation stops at it."""

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "{{- '<|assistant|>' -}}"
    "{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- elif message['role'] in ('system', 'user') -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] -}}"
    "{%- else -%}"
    "{{- raise_exception('unknown role ' + message['role']) -}}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

_MARKS = ("<|system|>", "<|user|>", "<|assistant|>", END)

Message = Mapping[str, str]


class ChatEncoder:
    """Conversations to token ids and to what of them is learned.

    Args:
        tokenizer: a `tokenizers.Tokenizer` that has the template's special tokens.
        template: Jinja, with `{% generation %}` around what is learned.

    Raises:
        ValueError: the tokenizer lacks one of the template's special tokens.
    """

    def __init__(self, tokenizer: Any, template: str = CHAT_TEMPLATE) -> None:
        missing = [mark for mark in _MARKS if tokenizer.token_to_id(mark) is None]
        if missing:
            raise ValueError(f"the tokenizer has no {', '.join(missing)}: it cannot write conversations")
        # What the template writes must be read as special tokens; texts that spell one are refused below.
        tokenizer.encode_special_tokens = False
        added = tokenizer.get_added_tokens_decoder().values()
        self._special = [token.content for token in added if token.special]
        self.tokenizer, self.template = tokenizer, template

    def encode(self, messages: Sequence[Message]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Token ids [n], and which of them are learned [n].

        Raises:
            ValueError: a message spells a special token or has an unknown role, or nothing is learned.
        """
        from jinja2 import TemplateError
        from transformers.utils.chat_template_utils import render_jinja_template

        for message in messages:
            spelled = [token for token in self._special if token in message["content"]]
            if spelled:
                raise ValueError(f"the {message['role']}'s text spells the special token {spelled[0]}")
        chat = [dict(message) for message in messages]
        try:
            rendered: Any = render_jinja_template(
                [chat], chat_template=self.template, return_assistant_tokens_mask=True
            )
        except TemplateError as error:
            raise ValueError(f"the chat template refuses it: {error}") from None
        (text,), (spans,) = rendered
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        learned = np.zeros(len(encoding.ids), np.bool_)
        starts = np.array([start for start, _ in encoding.offsets], np.int64)
        for first, last in spans:
            learned |= (starts >= first) & (starts < last)
        if not learned.any():
            raise ValueError("no token of it is learned: it has no assistant's turn")
        return np.array(encoding.ids, np.int64), learned
