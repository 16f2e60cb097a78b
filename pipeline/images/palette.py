"""Pascal VOC's colours of indices, which tell neighbouring classes apart."""


def index_colour(index: int) -> tuple[int, int, int]:
    """Return VOC's red, green and blue of an index: bit ``3 k + c`` of the index is bit ``7 - k`` of component ``c``.

    All indices below 2**24 have different colours; the palette holds the first 256.
    """
    components = (sum((index >> 3 * bit + component & 1) << 7 - bit for bit in range(8)) for component in range(3))
    red, green, blue = components
    return red, green, blue


PALETTE = bytes(component for index in range(256) for component in index_colour(index))
