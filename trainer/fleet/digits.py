"""How people and models misread a number: two digits swapped, or one more or less."""


def misread(number: int) -> tuple[int, ...]:
    """Return the likely misreadings of a number, never the number itself."""
    text, sign = str(abs(number)), -1 if number < 0 else 1
    swapped = [text[:i] + text[i + 1] + text[i] + text[i + 2 :] for i in range(len(text) - 1)]
    others = {int(one) for one in swapped if one[0] != "0"} | {abs(number) + 1}
    others |= {abs(number) - 1} if abs(number) > 1 else set()
    return tuple(sign * one for one in sorted(others - {abs(number)}))
