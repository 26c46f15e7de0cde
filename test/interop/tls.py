"""TLS 1.3 with both certificates, ALPN and exporter, and records on it: docs/PROTOCOL.md §1."""
import select
import socket
import time

from OpenSSL import SSL

from identity import Refused, hosts_of

MAX_RECORD_BYTES = 1 << 20
PATIENCE_SECONDS = 60


class Tls:
    def __init__(self, identity, port, ca_file, host='localhost'):
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_min_proto_version(SSL.TLS1_3_VERSION)
        context.set_alpn_protos([b'chat/1'])
        context.load_verify_locations(ca_file)
        context.set_verify(SSL.VERIFY_PEER, lambda _connection, _certificate, _error, _depth, ok: bool(ok))
        context.use_certificate_chain_file(identity.certificate_file)
        context.use_privatekey_file(identity.key_file)
        self._socket = socket.create_connection(('127.0.0.1', port), PATIENCE_SECONDS)
        self._socket.setblocking(True)
        self._tls = SSL.Connection(context, self._socket)
        self._tls.set_tlsext_host_name(host.encode())
        self._tls.set_connect_state()
        self._tls.do_handshake()
        self._socket.setblocking(False)
        self._received = b''
        if self._tls.get_protocol_version_name() != 'TLSv1.3' or self._tls.get_alpn_proto_negotiated() != b'chat/1':
            raise Refused('UNSUPPORTED_VERSION')
        self.server_certificate = self._tls.get_peer_certificate().to_cryptography()
        if host not in hosts_of(self.server_certificate):
            raise Refused('BAD_CERT', 'host')
        # tls-exporter, RFC 9266 §2
        self.exporter = self._tls.export_keying_material(b'EXPORTER-Channel-Binding', 32, b'')

    def send(self, data):
        while data:
            try:
                data = data[self._tls.send(data[:1 << 14]):]
            except SSL.WantWriteError:
                select.select([], [self._socket], [], PATIENCE_SECONDS)
            except SSL.WantReadError:
                select.select([self._socket], [], [], PATIENCE_SECONDS)

    def record(self):
        """The next one, with its length field. Raises EOFError at the end, TimeoutError."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        self._fill(4, deadline)
        length = int.from_bytes(self._received[:4], 'big')
        if length == 0:
            raise Refused('BAD_FRAME', 'record.length')
        if length > MAX_RECORD_BYTES:
            raise Refused('TOO_LARGE', 'record.length')
        self._fill(4 + length, deadline)
        record, self._received = self._received[:4 + length], self._received[4 + length:]
        return record

    def close(self):
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass  # the other end was faster
        self._socket.close()

    def _fill(self, size, deadline):
        while len(self._received) < size:
            try:
                self._received += self._tls.recv(1 << 16)
            except SSL.WantReadError:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self._socket], [], [], left)[0]:
                    raise TimeoutError('no record came') from None
            except SSL.Error as error:  # closed, cleanly or not
                raise EOFError(repr(error)) from None
