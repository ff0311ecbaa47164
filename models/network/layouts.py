"""Which class of transformers loads a network.

A layout fixes some settings; what no layout has (a logit softcap, squared ReLU with normed queries and keys, an encoder
with windows) trains here but loads nowhere else, and `layout_of` says so before anything is trained.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.network.settings import ModelSettings


@dataclass(frozen=True)
class Layout:
    """A class of transformers and the settings that it fixes.

    Attributes:
        class_name: of transformers.
        model_type: what config.json calls it.
        windows: whether layers may have one.
        any_head_size: whether hidden_size need not be a multiple of heads.
        mlp_bias: whether config.json has a key for biases of the feed-forward (always false here).
    """

    class_name: str
    model_type: str
    architecture: str = "decoder"
    activation: str = "swiglu"
    norms: str = "before"
    qk_norm: str = "none"
    windows: bool = False
    any_head_size: bool = False
    mlp_bias: bool = False

    @property
    def auto_class(self) -> str:
        """The class that loads it without being told which."""
        return "AutoModelForCausalLM" if self.architecture == "decoder" else "AutoModelForMaskedLM"

    def changes(self, settings: ModelSettings) -> dict[str, str]:
        """Settings that keep a network from this class, and what they would have to be."""
        fixed = ("architecture", "activation", "norms", "qk_norm")
        needed = {name: getattr(self, name) for name in fixed if getattr(settings, name) != getattr(self, name)}
        if any(settings.windows()) and not self.windows:
            needed["window"] = "none"
        if settings.logit_softcap is not None:
            needed["logit_softcap"] = "none"
        if settings.hidden_size % settings.heads and not self.any_head_size:
            needed["hidden_size"] = "a multiple of heads"
        return needed


LAYOUTS = (
    Layout("LlamaForCausalLM", "llama", mlp_bias=True),
    Layout("Qwen3ForCausalLM", "qwen3", qk_norm="head", windows=True, any_head_size=True),
    Layout("Olmo2ForCausalLM", "olmo2", norms="after", qk_norm="width", any_head_size=True),
    Layout("Olmo3ForCausalLM", "olmo3", norms="after", qk_norm="width", windows=True, any_head_size=True),
    Layout("ArceeForCausalLM", "arcee", activation="relu2", mlp_bias=True),
    Layout("EuroBertForMaskedLM", "eurobert", architecture="encoder", mlp_bias=True),
)
"""In the order in which they are preferred."""


def layout_of(settings: ModelSettings) -> Layout:
    """The class that loads such a network.

    Raises:
        ValueError: none does; with the settings in the way, and the classes that are one change or few away.
    """
    rivals = [(layout, layout.changes(settings)) for layout in LAYOUTS if layout.architecture == settings.architecture]
    fewest = min(len(changes) for _, changes in rivals)
    nearest = [(layout, changes) for layout, changes in rivals if len(changes) == fewest]
    if fewest == 0:
        return nearest[0][0]
    blamed = dict.fromkeys(name for _, changes in nearest for name in changes)
    found = ", ".join(f"{name} {getattr(settings, name)}" for name in blamed)
    ways = "; ".join(
        f"{layout.class_name} with {', '.join(f'{name}: {value}' for name, value in changes.items())}"
        for layout, changes in nearest
    )
    raise ValueError(f"no class of transformers loads a network with {found}; nearest: {ways}")
