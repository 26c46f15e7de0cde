/** A line between clients and a server that fails as lines do: cut, on both sides or on one alone, in the midst of a record, or silent for a while. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import type { Test } from 'tap';

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  /** bytes that the server still gets; then both sides are cut */
  left: number;
  /** one side has gone, and the other does not know */
  isTorn: boolean;
}

export class Relay {
  readonly #pairs = new Set<Pair>();
  readonly #listener: Server;

  /** @param port of the server, on the loopback */
  private constructor(port: number) {
    this.#listener = createServer((client) => this.#join(client, connect(port, '127.0.0.1')));
  }
  static async to(t: Test, port: number): Promise<Relay> {
    const relay = new Relay(port);
    await new Promise<void>((resolve) => relay.#listener.listen(0, '127.0.0.1', resolve));
    t.teardown(() => {
      relay.#listener.close();
      relay.cut();
    });
    return relay;
  }

  /** Where clients connect. */
  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  /** Both sides are told, whatever was on its way. */
  cut(): void {
    for (const { client, server } of this.#pairs) for (const side of [client, server]) side.resetAndDestroy();
  }
  /** The same, after so many more bytes of the client. */
  cutAfter(bytes: number): void {
    for (const pair of this.#pairs) pair.left = bytes;
  }
  /** One side is gone, and the other goes on as if nothing had happened. */
  tear(side: 'client' | 'server'): void {
    for (const pair of this.#pairs) {
      pair.isTorn = true;
      pair[side].resetAndDestroy();
    }
  }
  /** Nothing from this side arrives any more, until resume(). */
  silence(side: 'client' | 'server'): void {
    for (const pair of this.#pairs) pair[side].pause();
  }
  resume(): void {
    for (const { client, server } of this.#pairs) for (const side of [client, server]) side.resume();
  }

  #join(client: Socket, server: Socket): void {
    const pair: Pair = { client, server, left: Infinity, isTorn: false };
    this.#pairs.add(pair);
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      from.on('error', () => {});
      from.on('close', () => {
        if (!pair.isTorn) to.destroy();
        if (client.destroyed && server.destroyed) this.#pairs.delete(pair);
      });
    }
    server.on('data', (bytes) => void (client.destroyed || client.write(bytes)));
    client.on('data', (bytes: Buffer) => {
      if (!server.destroyed) server.write(bytes.subarray(0, pair.left));
      if (bytes.length >= pair.left) server.end(() => client.resetAndDestroy());
      pair.left -= Math.min(bytes.length, pair.left);
    });
  }
}
