"""Somebody with a certificate and an account, on one connection after another: docs/PROTOCOL.md §5.3."""
import login
from channel import X25519, X25519MLKEM768, Channel
from device import Device
from identity import Identity
from log import Log

PASSWORD = 'staple battery horse'


class Person:
    def __init__(self, port, ca_file, name, certificate_file, key_file):
        self.name, self.ca_file, self._port = name, ca_file, port
        self.identity = Identity(name, certificate_file, key_file)
        self.channel = self.device = self.token = None
        self.device_before = None  # under another certificate

    def other(self, certificate_file, key_file, device_before=None):
        """The same user with another certificate."""
        found = Person(self._port, self.ca_file, self.name, certificate_file, key_file)
        found.device_before = device_before
        return found

    def connect(self, suites=(X25519MLKEM768, X25519)):
        self.channel = Channel(self.identity, self._port, self.ca_file, suites)
        return self.channel

    def register(self):
        login.register(self.connect(), self.name, f'{self.name}@example.org', PASSWORD)

    def log_in(self, password=PASSWORD):
        """On the connection that there is. Answers login_ok."""
        continues = self.device_before and self.device_before.continuity(self.identity.der)
        return self._begin(login.log_in(self.channel, self.name, password, continues))

    def resume(self):
        """With the token, on a new connection."""
        checkpoint = self.device.log.newest() if self.device and self.device.log.notes else None
        return self._begin(login.resume(self.connect(), self.token, checkpoint))

    def lose(self):
        """The connection, without a word."""
        self.channel.tls.close()

    def _begin(self, answer):
        self.token = answer['token']
        log = Log(self.channel.server_certificate, answer['log'])
        if self.device is None:
            self.device = Device(self.channel, log, self.ca_file, self.device_before)
        else:
            self.device.continues(self.channel, log)
        return answer
