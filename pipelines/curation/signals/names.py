"""The names of all signals, in the order of their columns, and what they are measured in."""

VERSION = 2
"""Part of the hash of the stage that measures: raise it when a definition changes."""

TEXT = (
    "characters",
    "words",
    "lines",
    "paragraphs",
    "sentences",
    "mean_word_length",
    "hashes_per_word",
    "ellipses_per_word",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",
    "stop_words",
    "unique_words",
    "duplicate_lines",
    "duplicate_paragraphs",
    "duplicate_line_characters",
    "duplicate_paragraph_characters",
    "top_2_gram",
    "top_3_gram",
    "top_4_gram",
    "duplicate_5_grams",
    "duplicate_6_grams",
    "duplicate_7_grams",
    "duplicate_8_grams",
    "duplicate_9_grams",
    "duplicate_10_grams",
    "terminal_lines",
    "short_lines",
    "repeated_line_characters",
    "newlines_per_word",
    "mean_line_length",
    "longest_line",
    "long_lines",
    "alphanumeric_characters",
    "alphabetic_characters",
    "digit_characters",
    "uppercase_characters",
    "space_characters",
)
"""Ours: definitions as the papers read, see `reference`."""

VOCABULARY = frozenset(
    (
        "stop_words",
        "unique_words",
        *(f"top_{n}_gram" for n in (2, 3, 4)),
        *(f"duplicate_{n}_grams" for n in range(5, 11)),
    )
)
"""Those that look at words beyond their own line: half of the time, and seldom asked of an edited text."""

DATATROVE = tuple(
    f"datatrove_{name}"
    for name in (
        "words",
        "mean_word_length",
        "hashes_per_word",
        "ellipses_per_word",
        "bullet_lines",
        "ellipsis_lines",
        "alphabetic_words",
        "stop_words",
        "duplicate_lines",
        "duplicate_paragraphs",
        "duplicate_line_characters",
        "duplicate_paragraph_characters",
        "top_2_gram",
        "top_3_gram",
        "top_4_gram",
        "duplicate_5_grams",
        "duplicate_6_grams",
        "duplicate_7_grams",
        "duplicate_8_grams",
        "duplicate_9_grams",
        "duplicate_10_grams",
        "terminal_lines",
        "short_lines",
        "repeated_line_characters",
        "newlines_per_word",
    )
)
"""The same as datatrove measures them, for rules with `variant: datatrove`."""

GROUPS = {"text": TEXT, "datatrove": DATATROVE}
