"""How interop.test.ts and this client speak to each other: a line of JSON for each step, and a line of words back."""
import json
import sys

from identity import Refused


def say(step, **what):
    print(json.dumps({'step': step, **what}), flush=True)


def told(step, **what):
    """Says it, and waits for the test."""
    say(step, **what)
    return sys.stdin.readline().split()


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def refusal(check, *args):
    """The code, and what it is about; None when nothing was wrong."""
    try:
        check(*args)
    except Refused as refused:
        return ' '.join(filter(None, refused.args))
    return None
