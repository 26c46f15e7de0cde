"""CBOR in deterministic encoding: RFC 8949 §4.2.1, narrowed by the head of docs/PROTOCOL.md."""

MAX_DEPTH = 16


def encode(value):
    """None is for the content of messages alone (docs/TRANSCRIPT.md §a); frames have no null."""
    if value is None:
        return b'\xf6'
    if isinstance(value, bool):
        return b'\xf5' if value else b'\xf4'
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(3, len(text)) + text
    if isinstance(value, (list, tuple)):
        return _head(4, len(value)) + b''.join(encode(item) for item in value)
    if isinstance(value, dict):
        pairs = sorted((encode(key), encode(item)) for key, item in value.items())
        return _head(5, len(value)) + b''.join(key + item for key, item in pairs)
    raise TypeError(f'no CBOR for {type(value).__name__}')


def decode(data):
    """The one value that is encoded there."""
    value, end = _item(data, 0, 0)
    if end != len(data) or encode(value) != data:
        raise ValueError('not the only encoding of one value')
    return value


def decode_sequence(data):
    """The values of a CBOR sequence (RFC 8742), at least one."""
    values, at = [], 0
    while at < len(data):
        value, end = _item(data, at, 0)
        if encode(value) != data[at:end]:
            raise ValueError('not the only encoding of its value')
        values.append(value)
        at = end
    if not values:
        raise ValueError('a record without a frame')
    return values


def _head(major, number):
    if number < 24:
        return bytes([major << 5 | number])
    for code, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            return bytes([major << 5 | code]) + number.to_bytes(size, 'big')
    raise ValueError('number too large')


def _item(data, at, depth):
    """Answers a value and where it ends."""
    if depth > MAX_DEPTH or at >= len(data):
        raise ValueError('too deep, or cut off')
    major, number = data[at] >> 5, data[at] & 31
    at += 1
    if major == 7:
        if number not in (20, 21, 22):
            raise ValueError('neither true nor false nor null')
        return {20: False, 21: True, 22: None}[number], at
    if number > 27:
        raise ValueError('indefinite length')
    if number >= 24:
        size = 1 << (number - 24)
        number, at = int.from_bytes(data[at:at + size], 'big'), at + size
    if major == 0:
        return number, at
    if major == 1:
        return -1 - number, at
    if major in (2, 3):
        end = at + number
        if end > len(data):
            raise ValueError('cut off')
        return (data[at:end] if major == 2 else data[at:end].decode()), end
    if major == 4:
        items = []
        for _ in range(number):
            item, at = _item(data, at, depth + 1)
            items.append(item)
        return items, at
    if major == 5:
        entries = {}
        for _ in range(number):
            key, at = _item(data, at, depth + 1)
            entries[key], at = _item(data, at, depth + 1)
        return entries, at
    raise ValueError('a tag')
