"""Derives the constants and the circuit of the SM4 kernels and prints sm4_derived.h: python3 derive_sm4.py > sm4_derived.h

The S-box is affine map, inversion, the same affine map in GF(2)[x]/(x^8 + x^7 + x^6 + x^5 + x^4 + x^2 + 1) (F. Liu, W. Ji, L. Hu
and others, "Analysis of the SMS4 Block Cipher", ACISP 2007). The script checks this form, and all that it derives from it,
against the table of the standard for all 256 inputs.
"""

import itertools

Matrix = list[int]  # column j is the image of bit j

SBOX = bytes.fromhex(  # GB/T 32907-2016 s.6.2
    "d690e9fecce13db716b614c228fb2c052b679a762abe04c3aa44132649860699"
    "9c4250f491ef987a33540b43edcfac62e4b31ca9c908e89580df94fa758f3fa6"
    "4707a7fcf37317ba83593c19e6854fa8686b81b27164da8bf8eb0f4b70569d35"
    "1e240e5e6358d1a225227c3b01217887d40046579fd327524c3602e7a0c4c89e"
    "eabf8ad240c738b5a3f7f2cef96115a1e0ae5da49b341a55ad933230f58cb1e3"
    "1df6e22e8266ca60c02923ab0d534e6fd5db3745defd8e2f03ff6a726d6c5b51"
    "8d1baf92bbddbc7f11d95c411f105ad80ac13188a5cd7bbd2d74d012b8e5b4b0"
    "8969974a0c96777e65b9f109c56ec68418f07dec3adc4d2079ee5f3ed7cb3948"
)
SM4_FIELD = 0x1F5
AES_FIELD = 0x11B  # the field of GF2P8AFFINEINVQB and of AES (Intel SDM vol. 2, "GF2P8AFFINEINVQB"; FIPS 197 s.4)
AFFINE_ROW = 0xA7  # row i of the affine map of the S-box is this, rotated left by i
AFFINE_CONSTANT = 0xD3
AES_AFFINE_CONSTANT = 0x63  # FIPS 197 s.5.1.1
ZERO = -1  # the wire that is always 0


def multiply(a: int, b: int, field: int) -> int:
    """The product in GF(2^8) of this polynomial."""
    product = 0
    for bit in range(8):
        product ^= (a << bit) * (b >> bit & 1)
    for bit in range(14, 7, -1):
        product ^= (field << (bit - 8)) * (product >> bit & 1)
    return product


def invert(a: int, field: int) -> int:
    """a^254, so that 0 becomes 0."""
    result = 1
    for _ in range(254):
        result = multiply(result, a, field)
    return result


def apply(matrix: Matrix, value: int) -> int:
    result = 0
    for j, column in enumerate(matrix):
        result ^= column * (value >> j & 1)
    return result


def compose(*matrices: Matrix) -> Matrix:
    """The map that applies the last matrix first."""
    result = [1 << j for j in range(8)]
    for matrix in reversed(matrices):
        result = [apply(matrix, column) for column in result]
    return result


def add(first: Matrix, second: Matrix) -> Matrix:
    return [a ^ b for a, b in zip(first, second, strict=True)]


def inverse(matrix: Matrix) -> Matrix:
    images = {apply(matrix, value): value for value in range(256)}
    assert len(images) == 256, "the map has no inverse"
    return [images[1 << j] for j in range(8)]


def rows(matrix: Matrix) -> list[int]:
    """Row i as a mask of the inputs that bit i of the output is the sum of."""
    return [sum((column >> i & 1) << j for j, column in enumerate(matrix)) for i in range(8)]


def from_rows(masks: list[int]) -> Matrix:
    return [sum((mask >> j & 1) << i for i, mask in enumerate(masks)) for j in range(8)]


def powers_of_root(root: int, product) -> Matrix:
    """The isomorphism from the SM4 field that sends x to `root`."""
    powers = [1]
    for _ in range(7):
        powers.append(product(powers[-1], root))
    return powers


def roots(product) -> list[int]:
    """The elements of a field that are roots of the SM4 polynomial: each gives an isomorphism."""
    found = []
    for candidate in range(2, 256):
        value, power = 0, 1
        for bit in range(9):
            value ^= power * (SM4_FIELD >> bit & 1)
            power = product(power, candidate)
        if value == 0:
            found.append(candidate)
    return found


IDENTITY = [1 << j for j in range(8)]
AFFINE = from_rows([(AFFINE_ROW << i | AFFINE_ROW >> (8 - i)) & 255 for i in range(8)])

# The linear map L of a round (GB/T 32907-2016 s.6.2) on bytes: with S the four bytes after the S-box, byte j of L is
# OWN S_j + NEXT S_(j-1) + (OWN + NEXT)(S_0 + S_1 + S_2 + S_3). So two maps of each byte are all that a round computes, and the
# sum over all of them is the common term.
OWN = add(IDENTITY, [column >> 6 for column in IDENTITY])
NEXT = add(IDENTITY, [column << 2 & 255 for column in IDENTITY])


def check_linear_map() -> None:
    """The split of L is right for each byte of the word alone, hence for all words."""
    for position, bit in itertools.product(range(4), range(8)):
        word = 1 << bit << (24 - 8 * position)
        rotated = [word << n & 0xFFFFFFFF | word >> (32 - n) for n in (2, 10, 18, 24)]
        expected = word ^ rotated[0] ^ rotated[1] ^ rotated[2] ^ rotated[3]
        source = word.to_bytes(4, "big")
        common = apply(add(OWN, NEXT), source[0] ^ source[1] ^ source[2] ^ source[3])
        got = bytes(apply(OWN, source[j]) ^ apply(NEXT, source[j - 1]) ^ common for j in range(4))
        assert got == expected.to_bytes(4, "big")


class Form:
    """The S-box through another field: S(v) = back(inverse(into v + into_constant)) + AFFINE_CONSTANT.

    The state of the cipher is kept in the basis `into`; `own` and `next` follow the inversion and give OWN S and NEXT S in it.
    """

    def __init__(self, isomorphism: Matrix) -> None:
        self.into = compose(isomorphism, AFFINE)
        self.into_constant = apply(isomorphism, AFFINE_CONSTANT)
        self.out_of = inverse(self.into)
        self.back = compose(AFFINE, inverse(isomorphism))
        self.own = compose(self.into, OWN, self.back)
        self.next = compose(self.into, NEXT, self.back)
        self.own_constant = apply(compose(self.into, OWN), AFFINE_CONSTANT)
        self.next_constant = apply(compose(self.into, NEXT), AFFINE_CONSTANT)

    def check(self, invert_there) -> None:
        for value in range(256):
            inverted = invert_there(apply(self.into, value) ^ self.into_constant)
            assert apply(self.back, inverted) ^ AFFINE_CONSTANT == SBOX[value]
            assert apply(self.own, inverted) ^ self.own_constant == apply(self.into, apply(OWN, SBOX[value]))
            assert apply(self.next, inverted) ^ self.next_constant == apply(self.into, apply(NEXT, SBOX[value]))


def gfni_operand(matrix: Matrix) -> int:
    """The matrix as GF2P8AFFINEQB takes it: byte 7 - i of the operand is row i (Intel SDM vol. 2, affine_byte)."""
    return sum(row << (8 * (7 - i)) for i, row in enumerate(rows(matrix)))


def print_gfni(form: Form) -> None:
    print(
        "\n/* For GF2P8AFFINEQB and GF2P8AFFINEINVQB: the state is kept in the basis N; OWN, NEXT and BACK follow the inversion. */"
    )
    for name, matrix, constant in (
        ("INTO", form.into, form.into_constant),
        ("OUT_OF", form.out_of, None),
        ("OWN", form.own, form.own_constant),
        ("NEXT", form.next, form.next_constant),
        ("BACK", form.back, AFFINE_CONSTANT),
    ):
        print(f"#define SM4_GFNI_{name} 0x{gfni_operand(matrix):016x}u")
        if constant is not None:
            print(f"#define SM4_GFNI_{name}_CONSTANT 0x{constant:02x}")


def print_nibbles(name: str, matrix: Matrix, constant: int) -> None:
    """Two tables of 16 bytes for PSHUFB: the map of the low half of a byte (with the constant), and of the high half."""
    for half, values in (
        ("LOW", [apply(matrix, value) ^ constant for value in range(16)]),
        ("HIGH", [apply(matrix, value << 4) for value in range(16)]),
    ):
        print(f"#define SM4_AES_{name}_{half} {', '.join(f'0x{value:02x}' for value in values)}")


def print_aes(form: Form) -> None:
    """AESENCLAST ends with the affine map of AES, which the maps that follow undo."""
    masks = [sum(1 << ((i + offset) % 8) for offset in (0, 4, 5, 6, 7)) for i in range(8)]  # FIPS 197 s.5.1.1
    undo = inverse(from_rows(masks))
    print("\n/* The same for AESENCLAST: maps of bytes as two tables of 16 for PSHUFB. */")
    print_nibbles("INTO", form.into, 0)
    print_nibbles("OUT_OF", form.out_of, 0)
    for name, matrix, constant in (
        ("OWN", form.own, form.own_constant),
        ("NEXT", form.next, form.next_constant),
        ("BACK", form.back, AFFINE_CONSTANT),
    ):
        after_aes = compose(matrix, undo)
        print_nibbles(name, after_aes, constant ^ apply(after_aes, AES_AFFINE_CONSTANT))


class Tower:
    """GF(2^8) over GF(2^4) over GF(2^2): each step adds a root of z^2 + z + `middle`, then of y^2 + y + `top`."""

    def __init__(self, middle: int, top: int) -> None:
        self.middle, self.top = middle, top

    @staticmethod
    def multiply4(a: int, b: int) -> int:
        high, low = (a >> 1) & (b >> 1), a & b & 1
        cross = ((a >> 1) ^ a) & ((b >> 1) ^ b) & 1
        return (cross ^ low) << 1 | low ^ high

    def multiply16(self, a: int, b: int) -> int:
        high, low = self.multiply4(a >> 2, b >> 2), self.multiply4(a & 3, b & 3)
        cross = self.multiply4(a >> 2 ^ a & 3, b >> 2 ^ b & 3)
        return (cross ^ low) << 2 | low ^ self.multiply4(self.middle, high)

    def multiply256(self, a: int, b: int) -> int:
        high, low = self.multiply16(a >> 4, b >> 4), self.multiply16(a & 15, b & 15)
        cross = self.multiply16(a >> 4 ^ a & 15, b >> 4 ^ b & 15)
        return (cross ^ low) << 4 | low ^ self.multiply16(self.top, high)

    def invert256(self, a: int) -> int:
        result = 1
        for _ in range(254):
            result = self.multiply256(result, a)
        return result


def towers() -> list[Tower]:
    """Those whose two polynomials have no root in the field below."""
    found = []
    for middle in range(1, 4):
        if any(Tower.multiply4(v, v) ^ v == middle for v in range(4)):
            continue
        for top in range(1, 16):
            tower = Tower(middle, top)
            if all(tower.multiply16(v, v) ^ v != top for v in range(16)):
                found.append(tower)
    return found


class Circuit:
    """XOR and AND gates; wires 0..7 are the inputs, each gate adds a wire, equal gates are one."""

    def __init__(self) -> None:
        self.gates: list[tuple[str, int, int]] = []
        self.known: dict[tuple[str, int, int], int] = {}

    def gate(self, operation: str, a: int, b: int) -> int:
        key = (operation, min(a, b), max(a, b))
        if key not in self.known:
            self.gates.append(key)
            self.known[key] = 7 + len(self.gates)
        return self.known[key]

    def xor(self, a: int, b: int) -> int:
        if a == b:
            return ZERO
        if ZERO in (a, b):
            return max(a, b)
        return self.gate("^", a, b)

    def conjunction(self, a: int, b: int) -> int:
        return ZERO if ZERO in (a, b) else self.gate("&", a, b)

    def sums(self, wires: list[int], masks: list[int]) -> list[int]:
        """Sums of wires, sharing first the pair that most of them have (C. Paar, "Optimized arithmetic for Reed-Solomon
        encoders", 1997); equal pairs in the order of the wires, so that the result is the same on every machine.
        """
        sums = [{wire for j, wire in enumerate(wires) if mask >> j & 1} for mask in masks]
        while True:
            counts: dict[tuple[int, int], int] = {}
            for terms in sums:
                for pair in itertools.combinations(sorted(terms), 2):
                    counts[pair] = counts.get(pair, 0) + 1
            if not counts:
                return [next(iter(terms)) if terms else ZERO for terms in sums]
            best = min(counts, key=lambda pair: (-counts[pair], pair))
            shared = self.xor(*best)
            for terms in sums:
                if terms.issuperset(best):
                    terms.difference_update(best)
                    terms.add(shared)

    def evaluate(self, value: int) -> list[int]:
        bits = [value >> i & 1 for i in range(8)]
        for operation, a, b in self.gates:
            bits.append(bits[a] ^ bits[b] if operation == "^" else bits[a] & bits[b])
        return bits


class Inverter:
    """Builds the inversion of a tower as gates. Elements are tuples of wires or of elements: (high, low)."""

    def __init__(self, tower: Tower) -> None:
        self.tower, self.circuit = tower, Circuit()

    def add2(self, a, b):
        return self.circuit.xor(a[0], b[0]), self.circuit.xor(a[1], b[1])

    def add4(self, a, b):
        return self.add2(a[0], b[0]), self.add2(a[1], b[1])

    def multiply2(self, a, b):
        circuit = self.circuit
        high, low = circuit.conjunction(a[0], b[0]), circuit.conjunction(a[1], b[1])
        cross = circuit.conjunction(circuit.xor(a[0], a[1]), circuit.xor(b[0], b[1]))
        return circuit.xor(cross, low), circuit.xor(low, high)

    def square2(self, a):
        return a[0], self.circuit.xor(a[0], a[1])

    def scale2(self, factor, a):
        total = self.circuit.xor(a[0], a[1])
        return {1: a, 2: (total, a[0]), 3: (a[1], total)}[factor]

    def multiply4(self, a, b):
        high, low = self.multiply2(a[0], b[0]), self.multiply2(a[1], b[1])
        cross = self.multiply2(self.add2(a[0], a[1]), self.add2(b[0], b[1]))
        return self.add2(cross, low), self.add2(low, self.scale2(self.tower.middle, high))

    def scaled_square4(self, a):
        """Top a^2, which is linear."""
        images = [self.tower.multiply16(self.tower.top, self.tower.multiply16(1 << j, 1 << j)) for j in range(4)]
        masks = [sum((image >> i & 1) << j for j, image in enumerate(images)) for i in range(4)]
        low0, low1, high0, high1 = self.circuit.sums([a[1][1], a[1][0], a[0][1], a[0][0]], masks)
        return (high1, high0), (low1, low0)

    def invert8(self) -> list[int]:
        high, low = ((7, 6), (5, 4)), ((3, 2), (1, 0))
        total = self.add4(high, low)
        norm = self.add4(self.multiply4(low, total), self.scaled_square4(high))
        norm_total = self.add2(norm[0], norm[1])
        norm_norm = self.add2(
            self.multiply2(norm[1], norm_total), self.scale2(self.tower.middle, self.square2(norm[0]))
        )
        inverted_norm_norm = self.square2(norm_norm)  # in GF(4) squaring inverts
        inverted_norm = (self.multiply2(norm[0], inverted_norm_norm), self.multiply2(norm_total, inverted_norm_norm))
        result_high, result_low = self.multiply4(high, inverted_norm), self.multiply4(total, inverted_norm)
        return [
            wire for half in (result_low, result_high) for pair in (half[1], half[0]) for wire in (pair[1], pair[0])
        ]


def smallest_circuit() -> tuple[Form, Circuit, list[int]]:
    """Over all towers and isomorphisms, the form whose S-box with both linear maps needs the fewest gates."""
    best = None
    for tower in towers():
        for root in roots(tower.multiply256):
            form = Form(powers_of_root(root, tower.multiply256))
            inverter = Inverter(tower)
            wires = inverter.circuit.sums(inverter.invert8(), rows(form.own) + rows(form.next))
            if best is None or len(inverter.circuit.gates) < len(best[1].gates):
                form.check(tower.invert256)
                best = form, inverter.circuit, wires
    assert best is not None
    return best


def check_circuit(form: Form, circuit: Circuit, wires: list[int]) -> None:
    for value in range(256):
        bits = circuit.evaluate(apply(form.into, value) ^ form.into_constant)
        own = sum(bits[wire] << i for i, wire in enumerate(wires[:8])) ^ form.own_constant
        following = sum(bits[wire] << i for i, wire in enumerate(wires[8:])) ^ form.next_constant
        assert own == apply(form.into, apply(OWN, SBOX[value]))
        assert following == apply(form.into, apply(NEXT, SBOX[value]))


def print_circuit(name: str, parameters: str, circuit: Circuit, outputs: list[tuple[str, int]]) -> None:
    def wire_name(wire: int) -> str:
        return f"input[{wire}]" if wire < 8 else f"wire{wire}"

    print(f"#define {name}(plane, input, {parameters}) \\\n    do {{ \\")
    for number, (operation, a, b) in enumerate(circuit.gates, start=8):
        print(f"        const plane wire{number} = {wire_name(a)} {operation} {wire_name(b)}; \\")
    for target, wire in outputs:
        print(f"        {target} = {wire_name(wire)}; \\")
    print("    } while (0)")


def print_linear_circuit(name: str, matrix: Matrix) -> None:
    circuit = Circuit()
    wires = circuit.sums(list(range(8)), rows(matrix))
    print_circuit(name, "output", circuit, [(f"output[{i}]", wire) for i, wire in enumerate(wires)])


def print_bitsliced() -> None:
    form, circuit, wires = smallest_circuit()
    check_circuit(form, circuit, wires)
    conjunctions = sum(operation == "&" for operation, _, _ in circuit.gates)
    print(
        f"\n/* For bit planes: the S-box and both linear maps in {len(circuit.gates)} gates, {conjunctions} of them AND, without constants. */"
    )
    print(f"#define SM4_BITS_INTO_CONSTANT 0x{form.into_constant:02x}")
    print(f"#define SM4_BITS_CONSTANT 0x{form.own_constant ^ form.next_constant:02x}")
    for name, matrix in (("INTO", form.into), ("OUT_OF", form.out_of)):
        print(f"#define SM4_BITS_{name} {', '.join(f'0x{column:02x}' for column in matrix)}")
    outputs = [(f"own[{i}]" if i < 8 else f"next[{i - 8}]", wire) for i, wire in enumerate(wires)]
    print_circuit("SM4_BITS_SBOX", "own, next", circuit, outputs)
    print_linear_circuit("SM4_BITS_MAP_INTO", form.into)
    print_linear_circuit("SM4_BITS_MAP_OUT_OF", form.out_of)


def main() -> None:
    check_linear_map()

    def aes_product(a: int, b: int) -> int:
        return multiply(a, b, AES_FIELD)

    form = Form(powers_of_root(roots(aes_product)[0], aes_product))
    form.check(lambda value: invert(value, AES_FIELD))
    print("/* Printed by derive_sm4.py, which says what each constant is; not to be edited. */")
    print("#ifndef DDTP_SM4_DERIVED_H\n#define DDTP_SM4_DERIVED_H")
    print(f"\n#define SM4_SBOX_CONSTANT 0x{AFFINE_CONSTANT:02x}")
    print_gfni(form)
    print_aes(form)
    print_bitsliced()
    print("\n#endif")


if __name__ == "__main__":
    main()
