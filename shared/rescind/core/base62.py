"""Base62 of fixed width, big-endian, in the alphabet `0-9A-Za-z`."""

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUE = {character: value for value, character in enumerate(ALPHABET)}


def encode(number: int, width: int) -> str:
    """Encode a number in exactly `width` digits, padded on the left with `0`.

    Raises OverflowError for a number that needs more digits.
    """
    digits: list[str] = []
    for _ in range(width):
        number, rest = divmod(number, 62)
        digits.append(ALPHABET[rest])
    if number:
        raise OverflowError(f"the number needs more than {width} digits")
    return "".join(reversed(digits))


def decode(text: str) -> int:
    """Decode a number. Raises ValueError for a character outside the alphabet."""
    number = 0
    for character in text:
        value = _VALUE.get(character)
        if value is None:
            raise ValueError("a character outside 0-9A-Za-z")
        number = number * 62 + value
    return number
