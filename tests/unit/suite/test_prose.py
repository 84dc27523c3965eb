"""The sentences of a document are found with their lines, and counted as readers count them."""

from tests.support.prose import sentences

DOCUMENT = """# A heading

One sentence. Another one goes
on in the next line! **Bold one.** "Quoted." See e.g. the
last.

* An item has `code. With. Stops` as one word.
  It goes on (in brackets.) Then it ends
1. [A label of a link](page.md#place). After it.

| head | more |
| --- | --- |
| a cell \\| of two. Twice | - |

```sh
no sentence. At all
```
> A quote - with a dash.
"""


def test_each_sentence_has_the_line_where_it_begins() -> None:
    assert [(each.line, each.text) for each in sentences(DOCUMENT)] == [
        (1, "A heading"),
        (3, "One sentence."),
        (3, "Another one goes on in the next line!"),
        (4, "**Bold one.**"),
        (4, '"Quoted."'),
        (4, "See e.g. the last."),
        (7, "An item has `code. With. Stops` as one word."),
        (8, "It goes on (in brackets.)"),
        (8, "Then it ends"),
        (9, "[A label of a link](page.md#place)."),
        (9, "After it."),
        (11, "head"),
        (11, "more"),
        (13, "a cell \\| of two."),
        (13, "Twice"),
        (13, "-"),
        (18, "A quote - with a dash."),
    ]


def test_code_is_one_word_a_link_is_its_label_and_a_dash_is_none() -> None:
    found = {each.text: each.words for each in sentences(DOCUMENT)}
    assert found["An item has `code. With. Stops` as one word."] == 7
    assert found["[A label of a link](page.md#place)."] == 5
    assert found["A quote - with a dash."] == 5


def test_a_code_span_and_a_link_may_go_on_in_the_next_line() -> None:
    (found,) = sentences("Run `rescind\nexplain` of [the\ncommands](docs/commands.md) first.")
    assert (found.line, found.words) == (1, 6)


def test_code_is_not_read_as_prose() -> None:
    (found,) = sentences("Read `who is no one` first.")
    assert "is no" not in found.masked
