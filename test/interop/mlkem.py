"""ML-KEM-768 of FIPS 203: clear rather than fast, and not in constant time."""
import hashlib
import os

Q = 3329
N = 256
K = 3
ETA = 2
DU = 10
DV = 4

POLYNOMIAL_BYTES = 384  # ByteEncode_12


def keygen(d=None, z=None):
    """ML-KEM.KeyGen (§6.1, §7.1): encapsulation key and decapsulation key."""
    d = d or os.urandom(32)
    z = z or os.urandom(32)
    rho, sigma = _g(d + bytes([K]))
    a = _matrix(rho)
    s = [_ntt(_cbd(_prf(sigma, n))) for n in range(K)]
    e = [_ntt(_cbd(_prf(sigma, K + n))) for n in range(K)]
    t = [_add(_dot(a[i], s), e[i]) for i in range(K)]
    ek = b''.join(_encode(x, 12) for x in t) + rho
    return ek, b''.join(_encode(x, 12) for x in s) + ek + _h(ek) + z


def encapsulate(ek):
    """ML-KEM.Encaps (§6.2, §7.2): shared secret and ciphertext."""
    t = [ek[POLYNOMIAL_BYTES * i:POLYNOMIAL_BYTES * (i + 1)] for i in range(K)]
    if len(ek) != POLYNOMIAL_BYTES * K + 32 or any(x >= Q for each in t for x in _decode(each, 12)):
        raise ValueError('no encapsulation key')
    m = os.urandom(32)
    secret, r = _g(m + _h(ek))
    return secret, _encrypt(ek, m, r)


def decapsulate(dk, ciphertext):
    """ML-KEM.Decaps (§6.3, §7.3), with implicit rejection."""
    ends = POLYNOMIAL_BYTES * K, 2 * POLYNOMIAL_BYTES * K + 32, 2 * POLYNOMIAL_BYTES * K + 64
    s, ek, h, z = dk[:ends[0]], dk[ends[0]:ends[1]], dk[ends[1]:ends[2]], dk[ends[2]:]
    m = _decrypt(s, ciphertext)
    secret, r = _g(m + h)
    if _encrypt(ek, m, r) == ciphertext:
        return secret
    return hashlib.shake_256(z + ciphertext).digest(32)


# K-PKE, §5

def _encrypt(ek, m, r):
    t = [_decode(ek[POLYNOMIAL_BYTES * i:POLYNOMIAL_BYTES * (i + 1)], 12) for i in range(K)]
    a = _matrix(ek[POLYNOMIAL_BYTES * K:])
    y = [_ntt(_cbd(_prf(r, n))) for n in range(K)]
    e1 = [_cbd(_prf(r, K + n)) for n in range(K)]
    e2 = _cbd(_prf(r, 2 * K))
    columns = [[a[j][i] for j in range(K)] for i in range(K)]
    u = [_add(_inverse_ntt(_dot(columns[i], y)), e1[i]) for i in range(K)]
    v = _add(_add(_inverse_ntt(_dot(t, y)), e2), _decompress(_decode(m, 1), 1))
    return b''.join(_encode(_compress(x, DU), DU) for x in u) + _encode(_compress(v, DV), DV)


def _decrypt(dk, ciphertext):
    size = 32 * DU
    u = [_decompress(_decode(ciphertext[size * i:size * (i + 1)], DU), DU) for i in range(K)]
    v = _decompress(_decode(ciphertext[size * K:], DV), DV)
    s = [_decode(dk[POLYNOMIAL_BYTES * i:POLYNOMIAL_BYTES * (i + 1)], 12) for i in range(K)]
    w = _subtract(v, _inverse_ntt(_dot(s, [_ntt(x) for x in u])))
    return _encode(_compress(w, 1), 1)


# hashes, §4.1

def _g(data):
    digest = hashlib.sha3_512(data).digest()
    return digest[:32], digest[32:]


def _h(data):
    return hashlib.sha3_256(data).digest()


def _prf(seed, n):
    return hashlib.shake_256(seed + bytes([n])).digest(64 * ETA)


# encoding, compression, sampling: §4.2

def _encode(polynomial, bits):
    number = 0
    for i, x in enumerate(polynomial):
        number |= x << (bits * i)
    return number.to_bytes(32 * bits, 'little')


def _decode(data, bits):
    number, mask = int.from_bytes(data, 'little'), (1 << bits) - 1
    return [(number >> (bits * i)) & mask for i in range(N)]


def _compress(polynomial, bits):
    return [((x << bits) + Q // 2) // Q % (1 << bits) for x in polynomial]


def _decompress(polynomial, bits):
    return [(x * Q + (1 << (bits - 1))) >> bits for x in polynomial]


def _sample_ntt(seed):
    size = 168 * 4
    while True:  # a longer output of the same function, should the first one not do
        stream, found = hashlib.shake_128(seed).digest(size), []
        for i in range(0, size - 2, 3):
            low = stream[i] + 256 * (stream[i + 1] % 16)
            high = stream[i + 1] // 16 + 16 * stream[i + 2]
            if low < Q:
                found.append(low)
            if high < Q:
                found.append(high)
        if len(found) >= N:
            return found[:N]
        size *= 2


def _cbd(data):
    bits = [(x >> i) & 1 for x in data for i in range(8)]
    pairs = [bits[2 * ETA * i:2 * ETA * (i + 1)] for i in range(N)]
    return [(sum(pair[:ETA]) - sum(pair[ETA:])) % Q for pair in pairs]


def _matrix(rho):
    return [[_sample_ntt(rho + bytes([j, i])) for j in range(K)] for i in range(K)]


# the number-theoretic transform, §4.3

def _reversed_bits(i):
    return int(f'{i:07b}'[::-1], 2)


ZETAS = [pow(17, _reversed_bits(i), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * _reversed_bits(i) + 1, Q) for i in range(128)]


def _ntt(polynomial):
    f, i, length = list(polynomial), 1, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta = ZETAS[i]
            i += 1
            for j in range(start, start + length):
                t = zeta * f[j + length] % Q
                f[j + length] = (f[j] - t) % Q
                f[j] = (f[j] + t) % Q
        length //= 2
    return f


def _inverse_ntt(polynomial):
    f, i, length = list(polynomial), 127, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            zeta = ZETAS[i]
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j] = (t + f[j + length]) % Q
                f[j + length] = zeta * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def _multiply(f, g):
    product = []
    for i in range(128):
        a, b, c, d = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        product += [(a * c + b * d * GAMMAS[i]) % Q, (a * d + b * c) % Q]
    return product


def _dot(u, v):
    total = [0] * N
    for f, g in zip(u, v):
        total = _add(total, _multiply(f, g))
    return total


def _add(f, g):
    return [(x + y) % Q for x, y in zip(f, g)]


def _subtract(f, g):
    return [(x - y) % Q for x, y in zip(f, g)]
