"""Write sm2_table.inc: the multiples of G that fixed-base multiplication adds up. Needs nothing but Python.

Row i holds the odd multiples (1, 3, ... 2^WIDTH - 1) 2^(WIDTH i) G as x, y in Montgomery form; sm2_table.h says how
they are used. Usage: python3 make_sm2_table.py > sm2_table.inc
"""

import sys

WIDTH = 6
ROWS = 43

# GB/T 32918.5-2017 s.2.
P = 0xFFFFFFFEFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000000FFFFFFFFFFFFFFFF
B = 0x28E9FA9E9D9F5E344D5A9E4BCF6509A7F39789F515AB8F92DDBCBD414D940E93
G = (
    0x32C4AE2C1F1981195F9904466A39C9948FE30BBFF2660BE1715A4589334C74C7,
    0xBC3736A2F4F6779C59BDCEE36B692153D0A9877CC62A474002DF32E52139F0A0,
)

Point = tuple[int, int]


def add(first: Point, second: Point) -> Point:
    """Return first + second by the textbook rule (GB/T 32918.1 s.3.2.3.1); never meets infinity here."""
    if first == second:
        slope = (3 * first[0] * first[0] - 3) * pow(2 * first[1], -1, P) % P
    else:
        slope = (second[1] - first[1]) * pow(second[0] - first[0], -1, P) % P
    x = (slope * slope - first[0] - second[0]) % P
    return x, (slope * (first[0] - x) - first[1]) % P


def words(value: int) -> str:
    """Return `value` 2^256 mod p as four C words, the lowest first."""
    value = (value << 256) % P
    return ", ".join(f"0x{value >> 64 * i & (1 << 64) - 1:016X}" for i in range(4))


def row(base: Point) -> tuple[str, Point]:
    """Return the odd multiples of `base` as C, and 2^WIDTH times `base`."""
    twice, entry = add(base, base), base
    lines = []
    for _ in range(1 << WIDTH - 1):
        assert (entry[1] ** 2 - entry[0] ** 3 + 3 * entry[0] - B) % P == 0
        lines.append(f"{{{{{words(entry[0])}}},\n {{{words(entry[1])}}}}},\n")
        last, entry = entry, add(entry, twice)
    return "".join(lines), add(last, base)  # (2^WIDTH - 1) + 1


def main() -> None:
    """Write the table."""
    base = G
    for number in range(ROWS):
        lines, base = row(base)
        sys.stdout.write(f"{{ /* 2^{WIDTH * number} G */\n{lines}}},\n")


if __name__ == "__main__":
    main()
