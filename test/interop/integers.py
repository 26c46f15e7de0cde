"""Unsigned and big-endian, as all integers of docs/PROTOCOL.md and docs/TRANSCRIPT.md are."""


def u16(number):
    return number.to_bytes(2, 'big')


def u32(number):
    return number.to_bytes(4, 'big')


def u64(number):
    return number.to_bytes(8, 'big')


def number(data):
    return int.from_bytes(data, 'big')
