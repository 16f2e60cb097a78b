"""Read the members and items of JSON values without decoding them."""

import msgspec

from pipeline.synapse.documents.shapes import decode

type Fields = dict[str, msgspec.Raw]
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])


def read_fields(raw: "msgspec.Raw | bytes | None") -> Fields | None:
    """Return the members of a JSON object, undecoded, or None if it is something else."""
    try:
        return _FIELDS.decode(raw) if raw is not None else None
    except msgspec.DecodeError:
        return None


def read_items(raw: "msgspec.Raw | None") -> list[msgspec.Raw] | None:
    """Return the items of a JSON list, undecoded, or None if it is something else."""
    try:
        return _ITEMS.decode(raw) if raw is not None else None
    except msgspec.DecodeError:
        return None


def read_text(raw: msgspec.Raw | None) -> str:
    """Return a JSON text decoded, or ``""`` if it is something else."""
    return str(decode(raw)) if raw is not None and bytes(raw).startswith(b'"') else ""


def is_null(raw: msgspec.Raw | None) -> bool:
    """Tell whether a value is missing or null."""
    return raw is None or bytes(raw) == b"null"
