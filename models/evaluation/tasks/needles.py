"""Facts that only a context can tell: which word goes with which, drawn anew for every text.

Keys and values are plain nouns, so that a fact is a few tokens and a guess is right once in two hundred times.
"""

from __future__ import annotations

import random

_NOUNS = """
acorn anchor apple apron arch arrow badge banner barley barn barrel basin basket beacon beam bell bench berry
birch blanket boat bolt bone bottle boulder bowl branch bread brick bridge broom brush bucket button cabin cable
camel candle canvas canyon carpet castle cedar cellar chain chalk cherry chest chimney circle clay cliff cloak
clock cloud clover coal comet copper coral cotton cradle crane crown crystal curtain dagger daisy desert diamond
dove dragon drum dust eagle echo ember engine falcon feather fence fern fiddle field flame flask flint flute
forest fork fountain fox frost garden garnet gate ginger glacier glass glove goat grain granite grape gravel
hammer harbour harp hawk hazel helmet heron hinge honey horn ink iron island ivory ivy jacket jewel jungle
kettle key kite ladder lake lamp lantern leaf lemon lily linen lion lizard lotus magnet maple marble meadow
melon mirror mist moon moss mountain needle nest nettle oak oar ocean olive onion orchard otter oven owl paddle
palace pearl pebble pepper piano pillar pillow pine plum pocket pond poppy quill rabbit raven reef ribbon ring
river robin rope ruby saddle sail salt sand scarf seed shadow shell shield silver slate sparrow spear spice
spider spring spruce star stone storm stream swan sword table temple thistle thorn thread tiger torch tower
trumpet tulip tunnel turtle valley velvet violin walnut wagon wheat wheel whistle willow window wolf wool
"""
WORDS = tuple(_NOUNS.split())


def question(key: str) -> str:
    """What a fact begins with, and what is asked."""
    return f"The password: {key}"


def statement(key: str, value: str) -> str:
    """The fact."""
    return f"{question(key)} {value}."


def fact(draw: random.Random, said: str = "") -> tuple[str, str]:
    """A key and a value, any two words; the key is one that `said` gives no value for, if there is one."""
    keys = [word for word in WORDS if f"{question(word)} " not in said] if said else WORDS
    return draw.choice(keys or WORDS), draw.choice(WORDS)
